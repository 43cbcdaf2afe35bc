"""Euler angles, intrinsic: order ``'ZXY'`` means ``R = R_Z @ R_X @ R_Y``, the product in the written order.

That is the order of the channels of a BVH joint. All twelve orders exist: six with three axes (Tait-Bryan) and six
that return to the first axis (proper). SciPy writes intrinsic orders with the same capital letters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns

__all__ = ["euler_to_matrix", "matrix_to_euler"]


def euler_to_matrix(angles: Tensor, order: str) -> Tensor:
    """Rotation matrices from Euler angles.

    Args:
        angles: Angles in radians, in the written order, ``(..., 3)``.
        order: Three of ``X``, ``Y``, ``Z``, neighbours different, such as ``'ZXY'``.

    Returns:
        Rotation matrices ``R_a @ R_b @ R_c`` for column vectors, ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis is not 3 wide or the order is none.
        TypeError: If the numbers are not floating-point.

    Example:
        >>> yaw_pitch_roll = torch.tensor([0.6, 0.0, 0.0])
        >>> euler_to_matrix(yaw_pitch_roll, "ZXY") @ torch.tensor([1.0, 0.0, 0.0])  # about Z: X towards Y
        tensor([0.8253, 0.5646, 0.0000])
    """
    check_shape("angles", angles, "... 3")
    _check_order(order)
    return _formulas(order)[0](angles).reshape(*angles.shape[:-1], 3, 3)


def matrix_to_euler(matrix: Tensor, order: str) -> Tensor:
    """Euler angles from rotation matrices.

    Args:
        matrix: Rotation matrices, ``(..., 3, 3)``.
        order: Three of ``X``, ``Y``, ``Z``, neighbours different, such as ``'ZXY'``.

    Returns:
        Angles in radians, in the written order, ``(..., 3)``: the first and third in [-pi, pi], the middle one in
        [-pi/2, pi/2], or in [0, pi] for an order that returns to its first axis.

    Raises:
        ValueError: If the last two axes are not 3 by 3 or the order is none.
        TypeError: If the numbers are not floating-point.

    Note:
        In gimbal lock (middle angle at the end of its range) only the sum or the difference of the other two is
        determined; the first is then 0. Near it the two are ill-conditioned each, but the third is computed *after*
        undoing the first, so that the three always give the matrix back to rounding. Gradients grow without bound
        towards the lock; at the lock itself the undetermined part is 0.
    """
    check_shape("matrix", matrix, "... 3 3")
    _check_order(order)
    return _formulas(order)[1](matrix.flatten(-2))


def _check_order(order: str) -> None:
    if len(order) != 3 or set(order) - set("XYZ") or order[1] in (order[0], order[2]):
        raise ValueError(f"`order` must be three of X, Y, Z, neighbours different, such as 'ZXY'; got {order!r}.")


def _formulas(order: str) -> tuple[ColumnFormula, ColumnFormula]:
    """To the matrix and back, for axes i, j and the remaining k; an odd (i, j, k) turns every sine around."""
    i, j = "XYZ".index(order[0]), "XYZ".index(order[1])
    k = 3 - i - j
    sign = 1 if (j - i) % 3 == 1 else -1
    to_matrix, to_angles = (_proper if order[0] == order[2] else _tait_bryan)(i, j, k, sign)
    return ColumnFormula(to_matrix), ColumnFormula(to_angles)


_Formula = Callable[[Columns], Columns]


def _tait_bryan(i: int, j: int, k: int, sign: int) -> tuple[_Formula, _Formula]:
    def to_matrix(angles: Columns) -> Columns:
        ca, cb, cc = (torch.cos(angle) for angle in angles)
        sa, sb, sc = (sign * torch.sin(angle) for angle in angles)
        entries = {
            (i, i): cb * cc, (i, j): -cb * sc, (i, k): sb,
            (j, i): ca * sc + sa * sb * cc, (j, j): ca * cc - sa * sb * sc, (j, k): -sa * cb,
            (k, i): sa * sc - ca * sb * cc, (k, j): sa * cc + ca * sb * sc, (k, k): ca * cb,
        }  # fmt: skip
        return tuple(entries[row, column] for row in range(3) for column in range(3))

    def to_angles(matrix: Columns) -> Columns:
        sin_first, cos_first = -matrix[3 * j + k], matrix[3 * k + k]  # both times the cosine of the middle angle
        first = _angle(sin_first, cos_first)
        middle = torch.atan2(matrix[3 * i + k], _hypot(sin_first, cos_first))
        last = _last_angle(matrix, first, j, k, i, 1)
        return sign * first, sign * middle, sign * last

    return to_matrix, to_angles


def _proper(i: int, j: int, k: int, sign: int) -> tuple[_Formula, _Formula]:
    def to_matrix(angles: Columns) -> Columns:
        ca, cb, cc = (torch.cos(angle) for angle in angles)
        sa, sb, sc = (sign * torch.sin(angle) for angle in angles)
        entries = {
            (i, i): cb, (i, j): sb * sc, (i, k): sb * cc,
            (j, i): sa * sb, (j, j): ca * cc - sa * cb * sc, (j, k): -ca * sc - sa * cb * cc,
            (k, i): -ca * sb, (k, j): sa * cc + ca * cb * sc, (k, k): ca * cb * cc - sa * sc,
        }  # fmt: skip
        return tuple(entries[row, column] for row in range(3) for column in range(3))

    def to_angles(matrix: Columns) -> Columns:
        # Both times the sine of the middle angle, which `sign` keeps positive.
        sin_first, cos_first = sign * matrix[3 * j + i], -sign * matrix[3 * k + i]
        first = _angle(sin_first, cos_first)
        middle = torch.atan2(_hypot(sin_first, cos_first), matrix[3 * i + i])
        last = _last_angle(matrix, first, j, k, k, -1)
        return sign * first, middle, sign * last

    return to_matrix, to_angles


def _last_angle(matrix: Columns, first: Tensor, j: int, k: int, column: int, sign: int) -> Tensor:
    """From row j of the matrix with the first rotation undone: cosine in column j, sine (signed) in ``column``."""
    cos, sin = torch.cos(first), torch.sin(first)
    entry = {c: cos * matrix[3 * j + c] + sin * matrix[3 * k + c] for c in (j, column)}
    return torch.atan2(sign * entry[column], entry[j])


def _angle(y: Tensor, x: Tensor) -> Tensor:
    """``atan2``, but 0 with zero gradient where it is undefined."""
    return torch.atan2(y, x + ((x == 0) & (y == 0)))


def _hypot(y: Tensor, x: Tensor) -> Tensor:
    return (y * y + x * x).clamp_min(1e-36).sqrt()  # the clamp: a zero gradient at zero instead of none
