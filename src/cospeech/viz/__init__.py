"""Something to look at: a self-contained HTML player."""
