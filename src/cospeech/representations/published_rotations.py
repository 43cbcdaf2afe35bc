"""Rotation conversions as published programs have them, where they differ from ``cospeech.rotations``.

For parity alone: each of these loses accuracy somewhere, and what a published network was trained on, or what a
published file holds, shows it. A conversion that is not on this page agrees with ours: axis-angle to quaternion and
matrix, Rot6D, Euler angles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = [
    "globaldiff_matrix_to_axis_angle",
    "old_pytorch3d_matrix_to_quaternion",
    "pytorch3d_quaternion_to_axis_angle",
]


def globaldiff_matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians from rotation matrices ``(..., 3, 3)``, as GlobalDiff writes them.

    The cosine is kept 1e-4 away from -1 and 1, so no angle above 3.1275 comes out about any one axis. Near pi the
    length of each axis component is read off the diagonal, which invents up to 0.018 rad about the other axes and
    jumps where the branch begins. Small rotations survive, since the error of the angle there divides out.

    Reference:
        The program of Zhang et al., GlobalDiff, AAAI 2026; used on everything that it generates.
    """
    check_shape("matrix", matrix, "... 3 3")
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    angle = torch.acos(((m00 + m11 + m22 - 1) / 2).clamp(-1 + 1e-4, 1 - 1e-4))
    skew = torch.stack([m21 - m12, m02 - m20, m10 - m01], dim=-1)
    axis = skew / (2 * torch.sin(angle))[..., None]
    lengths = ((torch.stack([m00, m11, m22], dim=-1) + 1) / 2).clamp_min(0).sqrt()
    axis_near_pi = torch.where(skew > 0, lengths, -lengths)
    near_pi = angle > math.acos(-1 + 2e-4)
    return torch.where(near_pi[..., None], axis_near_pi, axis) * angle[..., None]


def globaldiff_rot6d_to_matrix(rot6d: Tensor) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` from their first two rows ``(..., 6)``, as GlobalDiff's NumPy code has them.

    Lengths are increased by 1e-12 before dividing, which shortens rows whose length is not far above that.

    Reference:
        The program of Zhang et al., GlobalDiff, AAAI 2026; its PyTorch code agrees with ours.
    """
    check_shape("rot6d", rot6d, "... 6")
    first, second = rot6d[..., :3], rot6d[..., 3:]
    first = first / (torch.linalg.vector_norm(first, dim=-1, keepdim=True) + 1e-12)
    second = second - (first * second).sum(-1, keepdim=True) * first
    second = second / (torch.linalg.vector_norm(second, dim=-1, keepdim=True) + 1e-12)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def old_pytorch3d_matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Quaternions wxyz ``(..., 4)`` from rotation matrices ``(..., 3, 3)``, as pytorch3d 0.3 has them.

    Each component has its own square root, so small ones drown in rounding: through float32 matrices angles below
    3e-4 rad come back as 0, and the axis is off by some 1e-4 rad near pi.

    Reference:
        pytorch3d 0.3, copied by EMAGE, CVPR 2024, and MotionStreamer, ICCV 2025.
    """
    check_shape("matrix", matrix, "... 3 3")
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    squares = [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22]
    lengths = 0.5 * torch.stack(squares, dim=-1).clamp_min(0).sqrt()
    # The sign of w is free. A difference of zero counts as positive, so no torch.sign here.
    skew = torch.stack([torch.ones_like(m00), m21 - m12, m02 - m20, m10 - m01], dim=-1)
    return torch.where(skew < 0, -lengths, lengths)


def pytorch3d_quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians from quaternions wxyz ``(..., 4)``, as pytorch3d has them.

    A quaternion with negative ``w`` is not turned round: its angle lies between pi and 2 pi, where ours is the same
    rotation the short way.

    Reference:
        pytorch3d, used by EMAGE, CVPR 2024, DiffSHEG, CVPR 2024, and MotionStreamer, ICCV 2025.
    """
    check_shape("quaternion", quaternion, "... 4")
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    half = torch.atan2(torch.linalg.vector_norm(vector, dim=-1, keepdim=True), w)
    angle = 2 * half
    small = angle.abs() < 1e-6
    ratio = torch.where(small, 0.5 - angle**2 / 48, torch.sin(half) / torch.where(small, 1.0, angle))
    return vector / ratio
