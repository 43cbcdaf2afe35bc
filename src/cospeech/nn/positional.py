"""Sinusoidal positions, sine and cosine interleaved.

``encoding[p, 2k] = sin(p w_k)``, ``encoding[p, 2k + 1] = cos(p w_k)``, ``w_k = 10000 ** (-2k / C)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SinusoidalPositionalEncoding", "inverse_frequencies", "sinusoidal_positions"]


def inverse_frequencies(dim: int, *, device: torch.device | str | None = None) -> Tensor:
    """The angular frequencies ``w_k`` in radians per position, ``(dim / 2,)``, float32.

    Raises:
        ValueError: If ``dim`` is odd.
    """
    if dim % 2:
        raise ValueError(f"`dim` must be even; got {dim}.")
    return 1.0 / 10000 ** (torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)


def sinusoidal_positions(
    num_positions: int, dim: int, *, first: int = 0, device: torch.device | str | None = None
) -> Tensor:
    """The encoding of positions ``first``, ``first + 1``, ...: ``(num_positions, dim)``, float32.

    Example:
        >>> sinusoidal_positions(2, 4)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5.
    """
    positions = torch.arange(first, first + num_positions, device=device, dtype=torch.float32)
    angles = torch.outer(positions, inverse_frequencies(dim, device=device))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class SinusoidalPositionalEncoding(nn.Module):
    """Add ``sinusoidal_positions`` to ``(..., T, C)``.

    The table is computed, so nothing of it enters a state dict, and a model kept in bfloat16 still has exact phases.

    Example:
        >>> encode = SinusoidalPositionalEncoding(4)
        >>> clip = torch.zeros(1, 6, 4)
        >>> torch.equal(encode(clip)[:, 2:], encode(clip[:, 2:], first=2))
        True
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, *, first: int = 0) -> Tensor:
        """Add the positions, the first frame being number ``first``."""
        table = sinusoidal_positions(x.shape[-2], self.dim, first=first, device=x.device)
        return x + table.to(x.dtype)
