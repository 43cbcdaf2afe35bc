"""GlobalDiff's masked variational autoencoder of motion windows, at time strides 2 and 4.

The denoiser is trained to agree with the ground truth in the latents of two of these, frozen: the temporal structure
constraint. They are trained with frames replaced by one learned vector, so that their latents tell how motion goes on.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; the structure is that of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import SinusoidalPositionalEncoding, TransformerEncoderLayer

__all__ = ["MaskedVAE", "MaskedVAEConfig", "MotionLatents", "ReconstructedMotion", "sample_latents"]


@dataclass(frozen=True, kw_only=True)
class MaskedVAEConfig:
    """Sizes of the autoencoder; the defaults are those published as ``MaskedVAE3``.

    ``stage_blocks`` says how many residual blocks stand at each time scale; each stage halves the frame rate once, so
    ``(2, 2)`` has stride 4 and ``(3,)``, published as ``MaskedVAE2``, stride 2.
    """

    motion_dim: int = 333
    hidden_dim: int = 256
    latent_dim: int = 128
    stage_blocks: tuple[int, ...] = (2, 2)
    num_layers: int = 6
    num_heads: int = 8
    feedforward_dim: int = 1024
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and value < 1:
                raise ValueError(f"`{field.name}` must be at least 1; got {value}.")
        if not self.stage_blocks or min(self.stage_blocks) < 1:
            raise ValueError(f"`stage_blocks` must name one block per stage at least; got {self.stage_blocks}.")

    @property
    def stride(self) -> int:
        """Frames per latent."""
        return 1 << len(self.stage_blocks)


class MotionLatents(NamedTuple):
    """A normal distribution for each latent, ``(B, T // stride, C)`` each."""

    mean: Tensor
    log_variance: Tensor


class ReconstructedMotion(NamedTuple):
    """What came back, ``(B, T, C)``, and the latents that it came through."""

    motion: Tensor
    latents: MotionLatents


class MaskedVAE(nn.Module):
    """Windows of motion to latents at a lower rate, and back.

    Example:
        >>> config = MaskedVAEConfig(hidden_dim=16, latent_dim=4, num_layers=1, feedforward_dim=32)
        >>> vae, motion = MaskedVAE(config).eval(), torch.randn(2, 60, 333)
        >>> vae.encode(motion).mean.shape
        torch.Size([2, 15, 4])
        >>> hidden = torch.zeros(2, 60, dtype=torch.bool).index_fill(1, torch.arange(20, 30), True)
        >>> vae(motion, mask=hidden).motion.shape
        torch.Size([2, 60, 333])
    """

    def __init__(self, config: MaskedVAEConfig):
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.motion_dim, config.hidden_dim)
        self.masked_frame = nn.Parameter(torch.randn(1, 1, config.hidden_dim))
        self.encoder = _Encoder(config)
        self.decoder = _Decoder(config)

    def encode(self, motion: Tensor, mask: Tensor | None = None) -> MotionLatents:
        """Latents of motion windows.

        Args:
            motion: ``(B, T, C)``. Frames beyond a multiple of the stride are left out.
            mask: True where a frame is hidden, ``(B, T)``.

        Raises:
            ValueError: If a shape does not fit, or there are fewer frames than the stride.
        """
        check_shape("motion", motion, f"B T {self.config.motion_dim}")
        if motion.shape[1] < self.config.stride:
            raise ValueError(f"`motion` must hold {self.config.stride} frames at least; got {motion.shape[1]}.")
        x = self.project(motion)
        if mask is not None:
            check_shape("mask", mask, f"{motion.shape[0]} {motion.shape[1]}")
            x = torch.where(mask[..., None], self.masked_frame, x)
        return MotionLatents(*self.encoder(x).chunk(2, dim=-1))

    def decode(self, latents: Tensor) -> Tensor:
        """Motion ``(B, stride * L, C)`` from latents ``(B, L, C')``."""
        check_shape("latents", latents, f"B L {self.config.latent_dim}")
        motion: Tensor = self.decoder(latents)
        return motion

    def forward(
        self, motion: Tensor, mask: Tensor | None = None, *, noise: Tensor | None = None
    ) -> ReconstructedMotion:
        """Encode, sample and decode.

        Args:
            motion: See ``encode``.
            mask: See ``encode``.
            noise: Standard normal, shaped like the latents; None decodes their mean.
        """
        latents = self.encode(motion, mask)
        z = latents.mean if noise is None else sample_latents(latents, noise)
        return ReconstructedMotion(self.decode(z), latents)


def sample_latents(latents: MotionLatents, noise: Tensor) -> Tensor:
    """``mean + exp(log_variance / 2) * noise``."""
    return torch.addcmul(latents.mean, torch.exp(0.5 * latents.log_variance), noise)


class _ResidualBlock(nn.Module):
    """``x + conv(silu(bn(conv(silu(bn(x))))))`` on ``(B, C, T)``, kernel 3."""

    def __init__(self, dim: int):
        super().__init__()
        self.first_norm = nn.BatchNorm1d(dim)
        self.first_conv = nn.Conv1d(dim, dim, kernel_size=3, padding=1)
        self.second_norm = nn.BatchNorm1d(dim)
        self.second_conv = nn.Conv1d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first_conv(F.silu(self.first_norm(x)))
        y: Tensor = x + self.second_conv(F.silu(self.second_norm(hidden)))
        return y


class _Encoder(nn.Module):
    def __init__(self, config: MaskedVAEConfig):
        super().__init__()
        self.project = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.stages = _stages(config)
        self.positions = SinusoidalPositionalEncoding(config.hidden_dim)
        self.layers = _layers(config)
        self.head = nn.Linear(config.hidden_dim, 2 * config.latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x).mT
        for stage in self.stages:
            x = F.max_pool1d(stage(x), 2)
        x = self.layers(self.positions(x.mT))
        y: Tensor = self.head(x)
        return y


class _Decoder(nn.Module):
    def __init__(self, config: MaskedVAEConfig):
        super().__init__()
        self.project = nn.Linear(config.latent_dim, config.hidden_dim)
        self.positions = SinusoidalPositionalEncoding(config.hidden_dim)
        self.layers = _layers(config)
        self.stages = _stages(config)
        self.head = nn.Linear(config.hidden_dim, config.motion_dim)

    def forward(self, z: Tensor) -> Tensor:
        x = self.layers(self.positions(self.project(z))).mT
        for stage in self.stages:
            x = stage(x.repeat_interleave(2, dim=-1))
        y: Tensor = self.head(x.mT)
        return y


def _stages(config: MaskedVAEConfig) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(*(_ResidualBlock(config.hidden_dim) for _ in range(count))) for count in config.stage_blocks
    )


def _layers(config: MaskedVAEConfig) -> nn.Sequential:
    return nn.Sequential(
        *(
            TransformerEncoderLayer(config.hidden_dim, config.num_heads, config.feedforward_dim, dropout=config.dropout)
            for _ in range(config.num_layers)
        )
    )
