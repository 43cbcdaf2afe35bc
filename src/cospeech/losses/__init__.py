"""Training losses, each usable alone."""

from cospeech.losses.geodesic import geodesic_angles, geodesic_loss
from cospeech.losses.kinematic import contact_loss, difference_losses, point_losses
from cospeech.losses.latent import kl_loss, latent_loss
from cospeech.losses.quantizer import code_perplexity, quantizer_loss
from cospeech.losses.structure import bone_cosines, bone_vectors, structure_loss

__all__ = [
    "bone_cosines",
    "bone_vectors",
    "code_perplexity",
    "contact_loss",
    "difference_losses",
    "geodesic_angles",
    "geodesic_loss",
    "kl_loss",
    "latent_loss",
    "point_losses",
    "quantizer_loss",
    "structure_loss",
]
