"""Euler angles, intrinsic: ``'XYZ'`` means ``R = R_X @ R_Y @ R_Z``, the product in the written order."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["euler_to_matrix", "matrix_to_euler"]


def euler_to_matrix(angles: Tensor, order: str) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` from Euler angles ``(..., 3)`` in radians, angles in the written order."""
    check_shape("angles", angles, "... 3")
    _check_order(order)
    a, b, c = (_about(axis, angle) for axis, angle in zip(order, angles.unbind(-1), strict=True))
    return a @ b @ c


def matrix_to_euler(matrix: Tensor, order: str) -> Tensor:
    """Euler angles ``(..., 3)`` in radians, in the written order, from rotation matrices ``(..., 3, 3)``."""
    check_shape("matrix", matrix, "... 3 3")
    i, j, k, sign = _check_order(order)
    m = matrix
    if order[0] != order[2]:
        y, x = -sign * m[..., j, k], m[..., k, k]
        middle = torch.atan2(sign * m[..., i, k], torch.hypot(y, x))
    else:
        y, x = m[..., j, i], -sign * m[..., k, i]
        middle = torch.atan2(torch.hypot(y, x), m[..., i, i])
    first = _atan2(y, x)
    cos, sin = torch.cos(first), sign * torch.sin(first)
    if order[0] != order[2]:
        last = torch.atan2(sign * (cos * m[..., j, i] + sin * m[..., k, i]), cos * m[..., j, j] + sin * m[..., k, j])
    else:
        last = torch.atan2(-sign * (cos * m[..., j, k] + sin * m[..., k, k]), cos * m[..., j, j] + sin * m[..., k, j])
    return torch.stack([first, middle, last], -1)


def _check_order(order: str) -> tuple[int, int, int, float]:
    if len(order) != 3 or set(order) - set("XYZ") or order[0] == order[1] or order[1] == order[2]:
        raise ValueError(f"`order` must be three of X, Y, Z with neighbours different, such as 'ZXY'; got {order!r}.")
    i, j = ("XYZ".index(axis) for axis in order[:2])
    return i, j, 3 - i - j, 1.0 if (j - i) % 3 == 1 else -1.0


def _about(axis: str, angle: Tensor) -> Tensor:
    cos, sin, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        "X": [one, zero, zero, zero, cos, -sin, zero, sin, cos],
        "Y": [cos, zero, sin, zero, one, zero, -sin, zero, cos],
        "Z": [cos, -sin, zero, sin, cos, zero, zero, zero, one],
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    undefined = (y == 0) & (x == 0)
    return torch.atan2(y, torch.where(undefined, 1.0, x))
