"""Rotary positions: neighbouring channels turned as a pair, by an angle that grows with the position."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech.nn.positional import inverse_frequencies

__all__ = ["rotary_phases", "rotate_pairs"]


def rotary_phases(num_positions: int, dim: int, *, first: int = 0, device: torch.device | str | None = None) -> Tensor:
    """Cosine and sine of each pair's angle at positions ``first``, ``first + 1``, ...: ``(num_positions, dim / 2, 2)``.

    Pair ``i`` turns by ``10000 ** (-2 i / dim)`` radians per position.
    """
    positions = torch.arange(first, first + num_positions, device=device, dtype=torch.float32)
    angles = torch.outer(positions, inverse_frequencies(dim, device=device))
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate_pairs(x: Tensor, phases: Tensor) -> Tensor:
    """Channels ``(2 i, 2 i + 1)`` of ``x`` turned by the angle of pair ``i`` at each position.

    Args:
        x: ``(..., T, C)``.
        phases: From ``rotary_phases``, ``(T, C / 2, 2)``.

    Example:
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> rotate_pairs(x, rotary_phases(1, 2, first=1))
        tensor([[0.5403, 0.8415]])

    Reference:
        Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, equation 34.
    """
    even, odd = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cosine, sine = phases.to(x.dtype).unbind(-1)
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1).flatten(-2)
