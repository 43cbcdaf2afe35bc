"""Arithmetic of quaternions, real part first (wxyz)."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["quaternion_apply", "quaternion_conjugate", "quaternion_multiply"]


def quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton products ``(..., 4)``: as rotations, first ``right``, then ``left``."""
    check_shape("left", left, "... 4")
    check_shape("right", right, "... 4")
    a, b, c, d = left.unbind(-1)
    w, x, y, z = right.unbind(-1)
    parts = [
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    ]
    return torch.stack(parts, -1)


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    """Conjugates ``(..., 4)``; for unit quaternions the inverse rotations."""
    check_shape("quaternion", quaternion, "... 4")
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], -1)


def quaternion_apply(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Vectors ``(..., 3)`` rotated by unit quaternions wxyz ``(..., 4)``."""
    check_shape("quaternion", quaternion, "... 4")
    check_shape("vector", vector, "... 3")
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    axis, vector = torch.broadcast_tensors(axis, vector)
    twice = 2 * torch.linalg.cross(axis, vector)
    return vector + w * twice + torch.linalg.cross(axis, twice)
