"""Something to look at: a self-contained HTML player, and plots of measurements."""

from cospeech.viz.metrics import save_beat_plot, save_comparison_plot, save_distribution_plot, save_metric_plots
from cospeech.viz.viewer import save_html

__all__ = ["save_beat_plot", "save_comparison_plot", "save_distribution_plot", "save_html", "save_metric_plots"]
