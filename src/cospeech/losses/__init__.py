"""Training losses, each usable alone."""
