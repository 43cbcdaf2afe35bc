"""Axis-angle, unit quaternion (wxyz) and rotation matrix, each from each."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = [
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
]


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` for column vectors from axis-angle vectors ``(..., 3)`` in radians."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis_angle))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians, no longer than pi, from rotation matrices ``(..., 3, 3)``."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """Unit quaternions wxyz ``(..., 4)`` from axis-angle vectors ``(..., 3)`` in radians."""
    check_shape("axis_angle", axis_angle, "... 3")
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < 1e-6
    angle = torch.where(small, 1.0, squared).sqrt()
    w = torch.where(small, 1 - squared / 8 + squared**2 / 384, torch.cos(angle / 2))
    scale = torch.where(small, 0.5 - squared / 48 + squared**2 / 3840, torch.sin(angle / 2) / angle)
    return torch.cat([w, scale * axis_angle], dim=-1)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians, no longer than pi, from unit quaternions wxyz ``(..., 4)``."""
    check_shape("quaternion", quaternion, "... 4")
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    w, vector = w.abs(), torch.where(w < 0, -vector, vector)
    squared = (vector * vector).sum(-1, keepdim=True)
    small = squared < 1e-6
    sine = torch.where(small, 1.0, squared).sqrt()
    series = (2 - 2 * squared / (3 * w * w).clamp_min(1e-6)) / w.clamp_min(1e-3)
    return vector * torch.where(small, series, 2 * torch.atan2(sine, w) / sine)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` for column vectors from unit quaternions wxyz ``(..., 4)``."""
    check_shape("quaternion", quaternion, "... 4")
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions wxyz ``(..., 4)`` with ``w >= 0`` from rotation matrices ``(..., 3, 3)``."""
    check_shape("matrix", matrix, "... 3 3")
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    by_x = torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1)
    by_y = torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], -1)
    by_z = torch.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], -1)
    by_w = torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1)
    low = torch.where((m00 > m11)[..., None], by_x, by_y)
    high = torch.where((m00 < -m11)[..., None], by_z, by_w)
    chosen = torch.where((m22 < 0)[..., None], low, high)
    chosen = torch.where(chosen[..., :1] < 0, -chosen, chosen)
    return chosen / torch.linalg.vector_norm(chosen, dim=-1, keepdim=True)
