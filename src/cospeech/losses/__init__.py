"""Training losses, each usable alone."""

from cospeech.losses.kinematic import point_losses

__all__ = ["point_losses"]
