"""Ways between rotations: exponential and logarithm map, slerp, mean."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations.conversions import axis_angle_to_matrix, matrix_to_axis_angle, quaternion_to_matrix

__all__ = ["exp_map", "log_map", "mean_rotation", "slerp"]


def exp_map(tangent: Tensor, base: Tensor | None = None) -> Tensor:
    """Rotation matrices ``base @ exp(tangent)``, ``(..., 3, 3)``; the tangent is an axis-angle vector ``(..., 3)``."""
    step = axis_angle_to_matrix(tangent)
    return step if base is None else base @ step


def log_map(matrix: Tensor, base: Tensor | None = None) -> Tensor:
    """Tangents ``log(base.T @ matrix)``, ``(..., 3)``: the shortest axis-angle vector from ``base`` to ``matrix``."""
    return matrix_to_axis_angle(matrix if base is None else base.transpose(-1, -2) @ matrix)


def slerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """Unit quaternions ``(..., 4)`` on the shortest way from ``start`` (weight 0) to ``end`` (weight 1).

    ``weight`` has the leading axes ``(...)`` or broadcasts to them.
    """
    check_shape("start", start, "... 4")
    check_shape("end", end, "... 4")
    weight = torch.as_tensor(weight, dtype=start.dtype, device=start.device)[..., None]
    dot = (start * end).sum(-1, keepdim=True)
    end = torch.where(dot < 0, -end, end)
    chord, sum_ = ((x * x).sum(-1, keepdim=True) for x in (end - start, end + start))
    small = chord < 1e-12
    angle = 2 * torch.atan2(torch.where(small, 1.0, chord).sqrt(), sum_.sqrt())
    sine = torch.sin(angle)
    at_start = torch.where(small, 1 - weight, torch.sin((1 - weight) * angle) / sine)
    at_end = torch.where(small, weight, torch.sin(weight * angle) / sine)
    return at_start * start + at_end * end


def mean_rotation(matrices: Tensor, weights: Tensor | None = None) -> Tensor:
    """Chordal means ``(..., 3, 3)`` of rotations ``(..., N, 3, 3)`` with weights ``(..., N)``."""
    check_shape("matrices", matrices, "... N 3 3")
    if weights is not None:
        matrices = weights[..., None, None] * matrices
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrices.sum(-3).flatten(-2).unbind(-1)
    davenport = torch.stack(
        [
            m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01,
            m21 - m12, m00 - m11 - m22, m10 + m01, m02 + m20,
            m02 - m20, m10 + m01, m11 - m00 - m22, m21 + m12,
            m10 - m01, m02 + m20, m21 + m12, m22 - m00 - m11,
        ],
        -1,
    ).unflatten(-1, (4, 4))  # fmt: skip
    return quaternion_to_matrix(torch.linalg.eigh(davenport).eigenvectors[..., -1])
