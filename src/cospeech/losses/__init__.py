"""Training losses, each usable alone."""

from cospeech.losses.contrastive import info_nce, normal_kl
from cospeech.losses.emage import (
    MotionTerms,
    central_velocity,
    locked_feet_loss,
    part_code_loss,
    part_latent_loss,
    rotation_terms,
    signal_terms,
)
from cospeech.losses.geodesic import geodesic_angles, geodesic_loss
from cospeech.losses.kinematic import contact_loss, difference_losses, point_error_losses, point_losses
from cospeech.losses.latent import kl_loss, latent_loss
from cospeech.losses.quantizer import code_perplexity, quantizer_loss
from cospeech.losses.sigma_vae import optimal_sigma_nll
from cospeech.losses.structure import bone_cosines, bone_vectors, structure_loss

__all__ = [
    "MotionTerms",
    "bone_cosines",
    "bone_vectors",
    "central_velocity",
    "code_perplexity",
    "contact_loss",
    "difference_losses",
    "geodesic_angles",
    "geodesic_loss",
    "info_nce",
    "kl_loss",
    "latent_loss",
    "locked_feet_loss",
    "normal_kl",
    "optimal_sigma_nll",
    "part_code_loss",
    "part_latent_loss",
    "point_error_losses",
    "point_losses",
    "quantizer_loss",
    "rotation_terms",
    "signal_terms",
    "structure_loss",
]
