"""Something to look at: a self-contained HTML player."""

from cospeech.viz.viewer import save_html

__all__ = ["save_html"]
