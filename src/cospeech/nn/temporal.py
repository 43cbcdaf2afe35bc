"""Convolutions along time at full frame rate: an encoder, a decoder, and how far they see.

Sequences are ``(B, T, C)``, unlike in ``nn.Conv1d``, since their neighbours are attention and quantizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

__all__ = ["TemporalDecoder", "TemporalEncoder", "TemporalResidual"]

_SLOPE = 0.2


class TemporalResidual(nn.Module):
    """``x + conv(lrelu(conv(x)))`` on ``(B, C, T)``, kernel 3."""

    def __init__(self, dim: int):
        super().__init__()
        self.expand = _conv(dim, dim)
        self.contract = _conv(dim, dim)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T)`` to ``(B, C, T)``."""
        y: Tensor = x + self.contract(self.activation(self.expand(x)))
        return y


class TemporalEncoder(nn.Module):
    """Stages of convolution, leaky ReLU and residual block, without a last projection.

    Args:
        in_dim: Width of the input.
        dim: Width of the output, and between.
        num_stages: How many stages.

    Attributes:
        reach: How many frames to either side an output frame sees.

    Example:
        >>> import torch
        >>> encoder = TemporalEncoder(6, 8, num_stages=2)
        >>> encoder(torch.randn(1, 20, 6)).shape, encoder.reach
        (torch.Size([1, 20, 8]), 6)

    Reference:
        Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
        Modeling", CVPR 2024; as in its published program.
    """

    def __init__(self, in_dim: int, dim: int, num_stages: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv(in_dim if i == 0 else dim, dim) for i in range(num_stages))
        self.residuals = nn.ModuleList(TemporalResidual(dim) for _ in range(num_stages))
        self.activation = nn.LeakyReLU(_SLOPE)
        self.reach = 3 * num_stages
        _init(self.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, in_dim)`` to ``(B, T, dim)``."""
        x = x.transpose(1, 2)
        for conv, residual in zip(self.convs, self.residuals, strict=True):
            x = residual(self.activation(conv(x)))
        return x.transpose(1, 2)


class TemporalDecoder(nn.Module):
    """Two residual blocks, convolutions with leaky ReLU, and a convolution without.

    Args:
        dim: Width of the input, and between.
        out_dim: Width of the output.
        num_stages: How many activated convolutions; the last of them already has the output's width, as published.

    Attributes:
        reach: How many frames to either side an output frame sees.

    Example:
        >>> import torch
        >>> decoder, latents = TemporalDecoder(8, 6, num_stages=2), torch.randn(1, 20, 8)
        >>> tail = decoder(latents[:, -4 - decoder.reach :])[:, -4:]
        >>> torch.allclose(tail, decoder(latents)[:, -4:], atol=1e-6)
        True

    Reference:
        As for ``TemporalEncoder``.
    """

    def __init__(self, dim: int, out_dim: int, num_stages: int):
        super().__init__()
        self.residuals = nn.ModuleList(TemporalResidual(dim) for _ in range(2))
        widths = [dim] * num_stages + [out_dim]
        self.convs = nn.ModuleList(_conv(*pair) for pair in pairwise(widths))
        self.out = _conv(out_dim, out_dim)
        self.activation = nn.LeakyReLU(_SLOPE)
        self.reach = 2 * len(self.residuals) + num_stages + 1
        _init(self.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, dim)`` to ``(B, T, out_dim)``."""
        x = x.transpose(1, 2)
        for residual in self.residuals:
            x = residual(x)
        for conv in self.convs:
            x = self.activation(conv(x))
        y: Tensor = self.out(x).transpose(1, 2)
        return y


def _conv(in_dim: int, out_dim: int) -> nn.Conv1d:
    return nn.Conv1d(in_dim, out_dim, kernel_size=3, padding=1)


def _init(modules: Iterator[nn.Module]) -> None:
    for module in modules:
        if isinstance(module, nn.Conv1d):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
