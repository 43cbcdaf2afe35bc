"""The autoencoder behind the Fréchet distances on BEAT (2022): windows of poses to one vector each.

Convolutions without padding, then linear layers over all that is left, so a network is made for one window length. The
linear part is linear throughout: the published ``LeakyReLU(True)`` has slope 1.

Reference:
    Yoon et al., "Speech Gesture Generation from the Trimodal Context", SIGGRAPH Asia 2020; this form
    (``HalfEmbeddingNet``) is that of Liu et al., BEAT, ECCV 2022, and of Chen et al., DiffSHEG, CVPR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape

__all__ = ["GestureAutoencoder", "GestureAutoencoderConfig", "GestureEmbedding"]

_SLOPE = 0.2
_CONVS = ((300, 3, 1), (600, 3, 1), (600, 4, 2), (300, 3, 1))  # channels, kernel, stride
_LINEAR_DIMS = (3600, 1200, 600)
_DECODER_CHANNELS = 37


@dataclass(frozen=True, kw_only=True)
class GestureAutoencoderConfig:
    """Sizes; the defaults are DiffSHEG's for BEAT: 34 frames at 15 fps of 141 axis-angle and 51 face numbers.

    For SHOW the windows have 88 frames of 232 numbers.
    """

    num_frames: int = 34
    motion_dim: int = 192
    latent_dim: int = 300

    def __post_init__(self) -> None:
        if self.encoded_frames < 1:
            raise ValueError(f"`num_frames` must be 12 or more; got {self.num_frames}.")

    @property
    def encoded_frames(self) -> int:
        """Frames that the convolutions leave."""
        frames = self.num_frames
        for _, kernel, stride in _CONVS:
            frames = (frames - kernel) // stride + 1
        return frames


class GestureEmbedding(NamedTuple):
    """A window's place: ``mean`` is the feature, ``log_variance`` is not used by any published measure."""

    mean: Tensor
    log_variance: Tensor


class GestureAutoencoder(nn.Module):
    """Windows ``(B, T, C)`` to features ``(B, 300)``, and back.

    Use it in evaluation mode, as DiffSHEG does. The test program of BEAT (2022) forgets to, and then the numbers depend
    on what is evaluated together.

    Example:
        >>> import torch
        >>> model = GestureAutoencoder(GestureAutoencoderConfig()).eval()
        >>> model.encode(torch.randn(5, 34, 192)).shape
        torch.Size([5, 300])
    """

    def __init__(self, config: GestureAutoencoderConfig):
        super().__init__()
        self.config = config
        widths = [config.motion_dim, *(channels for channels, _, _ in _CONVS)]
        self.convs = nn.ModuleList(
            nn.Conv1d(width, channels, kernel, stride=stride)
            for width, (channels, kernel, stride) in zip(widths, _CONVS, strict=False)
        )
        self.conv_norms = nn.ModuleList(nn.BatchNorm1d(channels) for channels, _, _ in _CONVS[:-1])
        flat = widths[-1] * config.encoded_frames
        # Longer windows have one layer more, down to what a window of 34 frames begins with.
        dims = [flat, *(_LINEAR_DIMS if flat != _LINEAR_DIMS[0] else _LINEAR_DIMS[1:]), config.latent_dim]
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(dims))
        self.linear_norms = nn.ModuleList(nn.BatchNorm1d(dim) for dim in dims[1:-1])
        self.mean, self.log_variance = (nn.Linear(config.latent_dim, config.latent_dim) for _ in range(2))
        self.expand = nn.Linear(config.latent_dim, _LINEAR_DIMS[-1])
        self.expand_norm = nn.BatchNorm1d(_LINEAR_DIMS[-1])
        self.spread = nn.Linear(_LINEAR_DIMS[-1], _DECODER_CHANNELS * config.num_frames)
        self.upconvs = nn.ModuleList([nn.ConvTranspose1d(_DECODER_CHANNELS, 300, 3), nn.ConvTranspose1d(300, 300, 3)])
        self.upconv_norms = nn.ModuleList(nn.BatchNorm1d(300) for _ in range(2))
        self.out = nn.ModuleList([nn.Conv1d(300, 600, 3), nn.Conv1d(600, config.motion_dim, 3)])

    def encode(self, motion: Tensor) -> Tensor:
        """Features ``(B, 300)`` of windows ``(B, T, C)``: the mean of the embedding."""
        return self.embed(motion).mean

    def embed(self, motion: Tensor) -> GestureEmbedding:
        """Mean and log variance, ``(B, 300)`` each."""
        x = self.convolve(motion).flatten(1)
        for linear, norm in zip(self.linears, self.linear_norms, strict=False):
            x = norm(linear(x))
        x = self.linears[-1](x)
        return GestureEmbedding(self.mean(x), self.log_variance(x))

    def convolve(self, motion: Tensor) -> Tensor:
        """What the convolutions make of windows ``(B, T, C)``: ``(B, 300, T')``."""
        check_shape("motion", motion, f"B {self.config.num_frames} {self.config.motion_dim}")
        x = motion.mT
        for conv, norm in zip(self.convs, self.conv_norms, strict=False):
            x = F.leaky_relu(norm(conv(x)), _SLOPE)
        y: Tensor = self.convs[-1](x)
        return y

    def decode(self, latents: Tensor) -> Tensor:
        """Windows ``(B, T, C)`` from features ``(B, 300)``."""
        check_shape("latents", latents, f"B {self.config.latent_dim}")
        x = self.spread(self.expand_norm(self.expand(latents))).unflatten(1, (_DECODER_CHANNELS, -1))
        for conv, norm in zip(self.upconvs, self.upconv_norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), _SLOPE)
        for conv in self.out:
            x = conv(x)
        motion: Tensor = x.mT
        return motion

    def forward(self, motion: Tensor) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(motion))
