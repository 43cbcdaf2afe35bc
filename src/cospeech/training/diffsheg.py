"""Training steps of DiffSHEG: the noise, what follows from it for the clean motion, and its velocity.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024; terms and weights are those of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models import DiffSHEGDenoiser
from cospeech.schedulers import NoiseSchedule, linear_betas

__all__ = [
    "DiffSHEGBatch",
    "DiffSHEGDraws",
    "DiffSHEGLosses",
    "DiffSHEGWeights",
    "diffsheg_losses",
    "diffsheg_optimizer_step",
    "draw_diffsheg_step",
    "null_rows",
]

_HUBER_WIDTH = 0.1


@dataclass(frozen=True, kw_only=True)
class DiffSHEGWeights:
    """What each term counts; the defaults are the published ones."""

    noise: float = 1000.0
    velocity: float = 1.0
    clean: float = 100.0


class DiffSHEGLosses(NamedTuple):
    """The terms, weighted; their sum is what is minimised. Scalars.

    Attributes:
        noise: Squared error of the predicted noise.
        velocity: Squared error of frame-to-frame differences of the clean estimate.
        clean: Huber distance of the clean estimate, quadratic below 0.1.
    """

    noise: Tensor
    velocity: Tensor
    clean: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of all terms."""
        return self.noise + self.velocity + self.clean


class DiffSHEGBatch(NamedTuple):
    """Windows to learn from.

    Attributes:
        clean: Normalised motion, ``(B, T, C)``.
        mel: ``(B, T, mel_dim)``.
        speech: ``(B, T, speech_feature_dim)``.
        speaker: ``(B,)``.
        semantic: How much each frame means, ``(B, T)``, 0 for nothing in particular; None where nobody has said.
    """

    clean: Tensor
    mel: Tensor
    speech: Tensor
    speaker: Tensor
    semantic: Tensor | None = None


class DiffSHEGDraws(NamedTuple):
    """What is random in a step: standard normal noise like the motion, and timesteps ``(B,)``."""

    noise: Tensor
    timesteps: Tensor


def draw_diffsheg_step(denoiser: DiffSHEGDenoiser, clean: Tensor, generator: torch.Generator) -> DiffSHEGDraws:
    """The draws of one step, every timestep as likely as any other."""
    noise = torch.randn(clean.shape, generator=generator, device=generator.device, dtype=clean.dtype)
    high = denoiser.config.num_timesteps
    timesteps = torch.randint(high, (len(clean),), generator=generator, device=generator.device)
    return DiffSHEGDraws(noise.to(clean.device), timesteps.to(clean.device))


def null_rows(num_rows: int, share: float = 0.2) -> Tensor:
    """Which rows of a batch see no condition: the first ones, as published; boolean ``(num_rows,)``.

    Example:
        >>> null_rows(5)
        tensor([ True, False, False, False, False])
    """
    return torch.linspace(0, 1, num_rows) < share


def diffsheg_losses(
    denoiser: DiffSHEGDenoiser,
    batch: DiffSHEGBatch,
    draws: DiffSHEGDraws,
    *,
    weights: DiffSHEGWeights | None = None,
    unconditional: Tensor | None = None,
) -> DiffSHEGLosses:
    """The terms of one training step.

    Args:
        denoiser: In training mode.
        batch: Windows. Where ``semantic`` is given, a frame counts ``1 + semantic`` times in the Huber distance, inside
            of it.
        draws: Noise and timesteps.
        weights: What each term counts.
        unconditional: Rows that see no condition, ``(B,)``; see ``null_rows``.

    Raises:
        ValueError: If a shape does not fit.
    """
    weights = weights or DiffSHEGWeights()
    check_shape("clean", batch.clean, f"B T {denoiser.config.motion_dim}")
    schedule = NoiseSchedule(linear_betas(denoiser.config.num_timesteps))
    noisy = schedule.add_noise(batch.clean, draws.noise, draws.timesteps)
    predicted = denoiser(noisy, draws.timesteps, batch.mel, batch.speech, batch.speaker, unconditional=unconditional)
    rows = draws.timesteps.tolist()
    left = torch.tensor([schedule.alphas_cumprod[row] for row in rows], dtype=torch.float64)[:, None, None]
    # Without a weight by level: where little signal is left the clean estimate, and with it its loss, is huge.
    estimate = noisy * (1 / left).sqrt().to(noisy) - predicted * (1 / left - 1).sqrt().to(noisy)
    clean = batch.clean
    velocity = F.mse_loss(estimate.diff(dim=1), clean.diff(dim=1))
    if batch.semantic is not None:
        gain = 1 + batch.semantic[..., None]
        estimate, clean = estimate * gain, clean * gain
    return DiffSHEGLosses(
        noise=weights.noise * F.mse_loss(predicted, draws.noise),
        velocity=weights.velocity * velocity,
        clean=weights.clean * F.smooth_l1_loss(estimate, clean, beta=_HUBER_WIDTH),
    )


def diffsheg_optimizer_step(loss: Tensor, optimizer: torch.optim.Optimizer, *, max_norm: float = 0.5) -> None:
    """Gradients of the loss, clipped to a norm over all parameters, then one step of the optimizer (Adam, 2e-4)."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)
    optimizer.step()
