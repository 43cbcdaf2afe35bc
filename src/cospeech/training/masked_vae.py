"""The training step of GlobalDiff's masked VAEs.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; terms and weights are those of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.losses import difference_losses, kl_loss
from cospeech.models import MaskedVAE, ReconstructedMotion
from cospeech.skeleton import SMPLX, Skeleton
from cospeech.training.motion_errors import MeasuredMotion, anchored_losses, measure_motion, reconstruction_angles

__all__ = ["VAEDraws", "VAELosses", "VAETrainingConfig", "draw_vae_step", "vae_losses"]


@dataclass(frozen=True, kw_only=True)
class VAETrainingConfig:
    """How a masked VAE is trained; the defaults are those of the released script.

    Attributes:
        mask_probability: How likely each frame is hidden. Which ratio the published checkpoints were trained at is not
            known: the script says 0.8, its comment and the checkpoints' folder names suggest 0.3.
        difference_weight: Of the velocity and of the acceleration of the features.
        kl_weight: Of the divergence at full strength.
        kl_warmup_epochs: Over which it rises from 0.
        swapped_translations: The published program adds the target's translation to the predicted points and the
            prediction's to the target's, which gives the error of the translation the wrong sign. False mends it.
    """

    mask_probability: float = 0.8
    difference_weight: float = 0.05
    kl_weight: float = 1e-4
    kl_warmup_epochs: float = 10.0
    swapped_translations: bool = True


class VAELosses(NamedTuple):
    """The terms, weighted; their sum is what is minimised. One of each, scalars.

    Attributes:
        reconstruction: Angles between rotations, and absolute error of the translation.
        divergence: Of the latents from the standard normal.
        feature_velocity: Of the features.
        feature_acceleration: Of the features.
        position: Joints and their anchor points.
        velocity: The same, frame to frame.
        acceleration: The same, second differences.
    """

    reconstruction: Tensor
    divergence: Tensor
    feature_velocity: Tensor
    feature_acceleration: Tensor
    position: Tensor
    velocity: Tensor
    acceleration: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of all terms."""
        return torch.stack(list(self)).sum()


class VAEDraws(NamedTuple):
    """What is random about a step.

    Attributes:
        mask: True where a frame is hidden, ``(B, T)``.
        noise: Standard normal, shaped like the latents.
    """

    mask: Tensor
    noise: Tensor


def draw_vae_step(
    vae: MaskedVAE, motion: Tensor, generator: torch.Generator, *, mask_probability: float = 0.8
) -> VAEDraws:
    """Draw what is random about a step for motion windows ``(B, T, C)``, with a generator on the CPU."""
    size, frames = motion.shape[:2]
    mask = torch.rand(size, frames, generator=generator) < mask_probability
    noise = torch.randn(size, frames // vae.config.stride, vae.config.latent_dim, generator=generator)
    return VAEDraws(mask.to(motion.device), noise.to(motion.device))


def vae_losses(
    vae: MaskedVAE,
    target: MeasuredMotion,
    rest_joints: Tensor,
    draws: VAEDraws,
    *,
    epoch: int,
    config: VAETrainingConfig | None = None,
    skeleton: Skeleton = SMPLX,
) -> tuple[VAELosses, ReconstructedMotion]:
    """The terms of one training step, and what they were computed from.

    Args:
        vae: In training mode.
        target: The ground truth; see ``measure_motion``.
        rest_joints: Of each window's speaker, metres, ``(B, J, 3)``.
        draws: Mask and noise.
        epoch: Counted from 0; the divergence counts from the second epoch.
        config: Weights.
        skeleton: The joint tree.
    """
    config = config or VAETrainingConfig()
    output = vae(target.features, draws.mask, noise=draws.noise)
    predicted = measure_motion(output.motion, rest_joints, skeleton)
    angles, offsets = reconstruction_angles(predicted, target)
    feature_losses = difference_losses(output.motion, target.features)
    sign = -1.0 if config.swapped_translations else 1.0
    position, velocity, acceleration = anchored_losses(predicted, target, translation_sign=sign)
    warmup = min(epoch / config.kl_warmup_epochs, 1.0)
    losses = VAELosses(
        reconstruction=angles.mean() + offsets.mean(),
        divergence=config.kl_weight * warmup * kl_loss(*output.latents),
        feature_velocity=config.difference_weight * feature_losses[0],
        feature_acceleration=config.difference_weight * feature_losses[1],
        position=position,
        velocity=velocity,
        acceleration=acceleration,
    )
    return losses, output
