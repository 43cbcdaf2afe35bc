"""MotionStreamer's causal autoencoder: motion at 30 frames per second to latents at 7.5 per second, and back.

Every convolution sees the past alone, so both sides run on whole clips or on streams. Between chunks each convolution
keeps the last columns of its own input, and that is the whole state: any way of cutting a clip into chunks gives what
the whole clip gives, up to the order of float sums. No published program does this; there a prefix is decoded again
for each latent.

A latent sees its own four frames and the 172 before (at the published depth), a frame its own latent and those before.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025; the structure is that of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.masked_vae import MotionLatents, ReconstructedMotion, sample_latents
from cospeech.nn import CausalConv1d, CausalResidual, StreamingSequence

__all__ = ["CausalDecoder", "CausalEncoder", "CausalTAE", "CausalTAEConfig"]


@dataclass(frozen=True, kw_only=True)
class CausalTAEConfig:
    """Sizes of the autoencoder; the defaults are the published ones.

    ``num_stages`` says how often the frame rate is halved. Each stage has ``num_residuals`` residual blocks, the
    widest dilation first: 9, 3, 1 for a growth of 3.
    """

    motion_dim: int = 272
    hidden_dim: int = 1024
    latent_dim: int = 16
    num_stages: int = 2
    num_residuals: int = 3
    dilation_growth: int = 3
    min_log_variance: float = -30.0
    max_log_variance: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 8 if field.name in ("num_stages", "num_residuals") else 1 << 16
            if isinstance(value, int) and not 1 <= value <= most:
                raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")
        if self.min_log_variance >= self.max_log_variance:
            raise ValueError(
                "`min_log_variance` must lie below `max_log_variance`; "
                f"got {self.min_log_variance:g} and {self.max_log_variance:g}."
            )

    @property
    def stride(self) -> int:
        """Frames per latent."""
        return 1 << self.num_stages

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of the residual blocks of a stage, in their order."""
        return tuple(self.dilation_growth**i for i in reversed(range(self.num_residuals)))


class CausalEncoder(nn.Module):
    """Motion to a normal distribution for each latent; ``(B, T, C)`` in and out."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        stages: list[nn.Module] = []
        for _ in range(config.num_stages):
            stages.append(CausalConv1d(dim, dim, kernel_size=4, stride=2))
            stages += [CausalResidual(dim, dilation=dilation) for dilation in config.dilations]
        self.network = StreamingSequence(
            CausalConv1d(config.motion_dim, dim, kernel_size=3),
            nn.ReLU(),
            *stages,
            CausalConv1d(dim, dim, kernel_size=3),
        )
        self.project = nn.Linear(dim, 2 * config.latent_dim)

    def forward(self, motion: Tensor) -> MotionLatents:
        """Latents of whole clips; frames beyond a multiple of the stride are left out.

        Raises:
            ValueError: If a shape does not fit, or there are fewer frames than the stride.
        """
        check_shape("motion", motion, f"B T {self.config.motion_dim}")
        num_latents = motion.shape[1] // self.config.stride
        if not num_latents:
            raise ValueError(f"`motion` must hold {self.config.stride} frames at least; got {motion.shape[1]}.")
        motion = motion[:, : num_latents * self.config.stride]
        return self.step(motion, self.init_state(motion.shape[0]))[0]

    def init_state(self, batch_size: int) -> tuple[Any, ...]:
        """What is remembered before the first frame: the last columns of each convolution's input, all zero."""
        return self.network.init_state(batch_size)

    def step(self, motion: Tensor, state: tuple[Any, ...]) -> tuple[MotionLatents, tuple[Any, ...]]:
        """Latents of the next frames, a multiple of the stride, and the state that follows them."""
        if motion.shape[1] % self.config.stride or not motion.shape[1]:
            raise ValueError(f"`motion` must hold a multiple of {self.config.stride} frames; got {motion.shape[1]}.")
        x, state = self.network.step(motion.transpose(1, 2), state)
        mean, log_variance = self.project(x.transpose(1, 2)).chunk(2, dim=-1)
        log_variance = log_variance.clamp(self.config.min_log_variance, self.config.max_log_variance)
        return MotionLatents(mean, log_variance), state


class CausalDecoder(nn.Module):
    """Latents to motion; ``(B, L, C')`` to ``(B, stride * L, C)``."""

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        stages: list[nn.Module] = []
        for _ in range(config.num_stages):
            stages += [CausalResidual(dim, dilation=dilation) for dilation in config.dilations]
            stages += [nn.Upsample(scale_factor=2, mode="nearest"), CausalConv1d(dim, dim, kernel_size=3)]
        self.project = nn.Linear(config.latent_dim, dim)
        self.network = StreamingSequence(
            CausalConv1d(dim, dim, kernel_size=3),
            nn.ReLU(),
            *stages,
            CausalConv1d(dim, dim, kernel_size=3),
            nn.ReLU(),
            CausalConv1d(dim, config.motion_dim, kernel_size=3),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Motion of whole clips."""
        return self.step(latents, self.init_state(latents.shape[0]))[0]

    def init_state(self, batch_size: int) -> tuple[Any, ...]:
        """What is remembered before the first latent."""
        return self.network.init_state(batch_size)

    def step(self, latents: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Motion of the next latents, and the state that follows them."""
        check_shape("latents", latents, f"B L {self.config.latent_dim}")
        x, state = self.network.step(self.project(latents).transpose(1, 2), state)
        return x.transpose(1, 2), state


class CausalTAE(nn.Module):
    """Encoder and decoder; stream with ``tae.encoder.step`` and ``tae.decoder.step``.

    Example:
        >>> config = CausalTAEConfig(hidden_dim=16)
        >>> tae, motion = CausalTAE(config).eval(), torch.randn(2, 24, 272)
        >>> latents = tae.encode(motion).mean
        >>> latents.shape
        torch.Size([2, 6, 16])
        >>> state, pieces = tae.decoder.init_state(batch_size=2), []
        >>> for latent in latents.split(1, dim=1):
        ...     frames, state = tae.decoder.step(latent, state)
        ...     pieces.append(frames)
        >>> torch.allclose(torch.cat(pieces, dim=1), tae.decode(latents), atol=1e-6)
        True
    """

    def __init__(self, config: CausalTAEConfig):
        super().__init__()
        self.config = config
        self.encoder = CausalEncoder(config)
        self.decoder = CausalDecoder(config)

    def encode(self, motion: Tensor) -> MotionLatents:
        """Latents ``(B, T // stride, C')`` of normalised motion ``(B, T, C)``.

        Note:
            Published latents are always drawn, also those that the second stage is trained on: see
            ``sample_latents``. ``mean`` is the deterministic choice.
        """
        latents: MotionLatents = self.encoder(motion)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised motion ``(B, stride * L, C)`` of latents ``(B, L, C')``."""
        motion: Tensor = self.decoder(latents)
        return motion

    def forward(self, motion: Tensor, *, noise: Tensor | None = None) -> ReconstructedMotion:
        """Encode, draw and decode.

        Args:
            motion: ``(B, T, C)``.
            noise: Standard normal, ``(B, T // stride, C')``; None decodes the means.
        """
        latents = self.encode(motion)
        drawn = latents.mean if noise is None else sample_latents(latents, noise)
        return ReconstructedMotion(self.decode(drawn), latents)

    def end_latent(self, noise: Tensor) -> Tensor:
        """What stands for the end of a clip, ``(C',)``: an encoding of the mean pose (zeros, as normalised).

        Args:
            noise: Standard normal, ``(C',)``. The published vector was drawn once; draw once and keep it.
        """
        zeros = torch.zeros(1, self.config.stride, self.config.motion_dim).to(self.encoder.project.weight)
        return sample_latents(self.encode(zeros), noise)[0, 0]
