"""Rot6D: six of the nine numbers of a rotation matrix, its first two rows or its first two columns."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations.conversions import axis_angle_to_matrix, matrix_to_axis_angle

__all__ = [
    "axis_angle_to_rot6d",
    "matrix_to_rot6d",
    "matrix_to_rot6d_columns",
    "normalize_rot6d",
    "rot6d_columns_to_matrix",
    "rot6d_to_axis_angle",
    "rot6d_to_matrix",
]


def rot6d_to_matrix(rot6d: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` from their first two rows ``(..., 6)``, made orthonormal, row 0 first."""
    rows = normalize_rot6d(rot6d).unflatten(-1, (2, 3))
    third = torch.linalg.cross(rows[..., 0, :], rows[..., 1, :])
    return torch.cat([rows, third[..., None, :]], -2)


def matrix_to_rot6d(matrix: Tensor) -> Tensor:
    """First two rows ``(..., 6)`` of rotation matrices ``(..., 3, 3)``, row 0 then row 1."""
    check_shape("matrix", matrix, "... 3 3")
    return matrix[..., :2, :].flatten(-2)


def rot6d_columns_to_matrix(rot6d: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` from their first two columns ``(..., 6)``, column 0 then column 1."""
    return rot6d_to_matrix(rot6d).transpose(-1, -2)


def matrix_to_rot6d_columns(matrix: Tensor) -> Tensor:
    """First two columns ``(..., 6)`` of rotation matrices ``(..., 3, 3)``, column 0 then column 1."""
    return matrix_to_rot6d(matrix.transpose(-1, -2))


def axis_angle_to_rot6d(axis_angle: Tensor) -> Tensor:
    """First two rows ``(..., 6)`` of the rotations by axis-angle vectors ``(..., 3)``."""
    return matrix_to_rot6d(axis_angle_to_matrix(axis_angle))


def rot6d_to_axis_angle(rot6d: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` of rotations given by their first two rows ``(..., 6)``."""
    return matrix_to_axis_angle(rot6d_to_matrix(rot6d))


def normalize_rot6d(rot6d: Tensor) -> Tensor:
    """The rows ``(..., 6)`` made orthonormal by Gram-Schmidt, row 0 first; a zero row stays zero."""
    check_shape("rot6d", rot6d, "... 6")
    a, b = rot6d[..., :3], rot6d[..., 3:]
    a = torch.nn.functional.normalize(a, dim=-1)
    b = torch.nn.functional.normalize(b - (a * b).sum(-1, keepdim=True) * a, dim=-1)
    return torch.cat([a, b], -1)
