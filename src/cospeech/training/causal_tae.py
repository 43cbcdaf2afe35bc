"""Training steps of MotionStreamer's causal autoencoder.

Windows of 64 normalised frames, AdamW with betas (0.9, 0.99) and no weight decay, rates from ``tae_learning_rate``.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025; terms and rates are those of the published program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech.io import atomic_path
from cospeech.losses import kl_loss, optimal_sigma_nll
from cospeech.models import CausalTAE, MotionLatents, sample_latents
from cospeech.representations import FeatureStats

__all__ = ["TAELosses", "cache_latents", "encode_latents", "tae_learning_rate", "tae_losses", "tae_step_losses"]

ROOT_WEIGHT = 7.0


class TAELosses(NamedTuple):
    """The terms, scalars.

    Attributes:
        reconstruction: Negative log likelihood of all channels, summed over the batch.
        root: The same of the root's channels, with a variance of their own.
        kl: Divergence of the latents from a standard normal, mean over the batch.
    """

    reconstruction: Tensor
    root: Tensor
    kl: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised. Two terms are sums over the batch and one is a mean, as published."""
        return self.reconstruction + self.kl + ROOT_WEIGHT * self.root


def tae_losses(predicted: Tensor, target: Tensor, latents: MotionLatents, *, num_root_channels: int = 8) -> TAELosses:
    """The loss of reconstructed windows.

    Args:
        predicted: ``(B, T, C)``, normalised.
        target: Same shape.
        latents: Which the reconstruction came through, ``(B, L, C')``.
        num_root_channels: The first channels, which tell the root's path and heading.
    """
    root = slice(0, num_root_channels)
    # The encoder bounds the log variances already, to [-30, 20].
    kl = kl_loss(*latents, max_log_variance=30.0) * latents.mean[0].numel()
    return TAELosses(
        optimal_sigma_nll(predicted, target), optimal_sigma_nll(predicted[..., root], target[..., root]), kl
    )


def tae_step_losses(tae: CausalTAE, motion: Tensor, noise: Tensor) -> TAELosses:
    """The loss of one step on windows ``(B, T, C)`` with noise ``(B, T // stride, C')``."""
    reconstructed = tae(motion, noise=noise)
    return tae_losses(reconstructed.motion, motion[:, : reconstructed.motion.shape[1]], reconstructed.latents)


def tae_learning_rate(
    iteration: int,
    *,
    base: float = 5e-5,
    warmup: int = 1000,
    milestone: int = 1_900_000,
    gamma: float = 0.05,
) -> float:
    """The rate of one iteration, counted from 1, the warm-up included.

    The published warm-up makes ``warmup - 1`` iterations and never reaches ``base``: the main rate is
    ``base * warmup / (warmup + 1)``. ``milestone`` counts the iterations behind the warm-up.

    Example:
        >>> [round(tae_learning_rate(i, base=1.0, warmup=4, milestone=2, gamma=0.1), 2) for i in range(1, 7)]
        [0.4, 0.6, 0.8, 0.8, 0.8, 0.08]
    """
    reached = min(iteration + 1, warmup)
    rate = base * reached / (warmup + 1)
    return rate * gamma if iteration - warmup >= milestone else rate


@torch.no_grad()
def encode_latents(tae: CausalTAE, motion: Tensor, noise: Tensor, end_latent: Tensor) -> Tensor:
    """What the second stage is trained on: a drawn latent for every four frames of a clip, then the end latent.

    Args:
        tae: In evaluation mode.
        motion: One clip, normalised, ``(T, C)``.
        noise: Standard normal, ``(T // stride, C')``.
        end_latent: ``(C',)``, one for the whole data set.

    Returns:
        ``(T // stride + 1, C')``.
    """
    latents = tae.encode(motion[None])
    drawn = sample_latents(latents, noise[None])[0]
    return torch.cat([drawn, end_latent[None]])


def cache_latents(
    tae: CausalTAE,
    clips: Iterable[tuple[str, Tensor]],
    folder: str | os.PathLike[str],
    *,
    stats: FeatureStats,
    end_latent: Tensor,
    generator: torch.Generator,
    min_frames: int = 40,
) -> list[str]:
    """Encode clips once for the second stage: one ``NAME.npy`` ``(T // stride + 1, C')`` for each, as published.

    Args:
        tae: In evaluation mode.
        clips: Names and features ``(T, C)``, not normalised.
        folder: Where to; made if missing. A clip whose file is there already is not encoded again.
        stats: Of the features.
        end_latent: ``(C',)``; keep it with the latents.
        generator: On the CPU.
        min_frames: Shorter clips are left out, as published for HumanML3D.

    Returns:
        The names of the clips that have a file now.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weight, names = tae.encoder.project.weight, []
    for name, features in clips:
        if len(features) < min_frames:
            continue
        names.append(name)
        path = folder / f"{name}.npy"
        # Drawn even for a clip that is there, so that an interrupted run ends with the same files.
        noise = torch.randn(len(features) // tae.config.stride, tae.config.latent_dim, generator=generator)
        if path.exists():
            continue
        latents = encode_latents(tae, stats.normalize(features).to(weight), noise.to(weight), end_latent.to(weight))
        with atomic_path(path) as unfinished, open(unfinished, "wb") as file:
            np.save(file, latents.float().cpu().numpy())
    return names
