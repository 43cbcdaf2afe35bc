"""Training losses, each usable alone."""

from cospeech.losses.kinematic import point_losses
from cospeech.losses.quantizer import code_perplexity, quantizer_loss

__all__ = ["code_perplexity", "point_losses", "quantizer_loss"]
