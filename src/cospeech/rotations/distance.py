"""Distances between rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["geodesic_distance"]


def geodesic_distance(first: Tensor, second: Tensor) -> Tensor:
    """Angles ``(...)`` in radians, 0 to pi, between rotation matrices ``(..., 3, 3)``."""
    check_shape("first", first, "... 3 3")
    check_shape("second", second, "... 3 3")
    m = first.transpose(-1, -2) @ second
    cos = (m.diagonal(dim1=-1, dim2=-2).sum(-1) - 1) / 2
    skew = torch.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
    squared = (skew * skew).sum(-1) / 4
    zero = squared == 0
    sin = torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
    return torch.atan2(sin, cos)
