"""Distances between rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, cross, dot

__all__ = ["geodesic_distance"]


def geodesic_distance(first: Tensor, second: Tensor) -> Tensor:
    """Angles of the rotations that lead from one to the other.

    Args:
        first: Rotation matrices, ``(..., 3, 3)``.
        second: Rotation matrices, ``(..., 3, 3)``; leading axes broadcast.

    Returns:
        Angles in radians, in [0, pi], ``(...)``: exactly 0 for equal matrices.

    Raises:
        ValueError: If the last two axes are not 3 by 3 or the leading axes do not broadcast.
        TypeError: If the numbers are not floating-point.

    Note:
        From sine *and* cosine, so that nothing is lost near 0, where ``acos`` of the trace fails, nor near pi, where
        ``asin`` of the matrix difference fails. The distance has a kink at 0 and at pi, like ``abs`` at 0; the
        gradient is 0 there, and of the right length everywhere else.
    """
    check_shape("first", first, "... 3 3")
    check_shape("second", second, "... 3 3")
    return _DISTANCE(first.flatten(-2), second.flatten(-2)).squeeze(-1)


def _rows(matrix: Columns) -> tuple[Columns, Columns, Columns]:
    return matrix[:3], matrix[3:6], matrix[6:]


def _sine_and_cosine(first: Columns, second: Columns) -> tuple[Tensor, Tensor, Columns]:
    """Of the angle of ``first^T second``, and 2 sine times its axis, which is the sum of the rows' cross products."""
    crosses = [cross(b, a) for a, b in zip(_rows(first), _rows(second), strict=True)]
    axial = tuple(x + y + z for x, y, z in zip(*crosses, strict=True))
    sine = dot(axial, axial).sqrt() / 2
    return sine, (dot(first, second) - 1) / 2, axial


def _distance(first: Columns, second: Columns) -> Columns:
    sine, cosine, _ = _sine_and_cosine(first, second)
    return (torch.atan2(sine, cosine),)


def _distance_backward(first: Columns, second: Columns, grad: Columns) -> Columns:
    sine, cosine, axial = _sine_and_cosine(first, second)
    scale = grad[0] / (2 * (sine * sine + cosine * cosine))
    axis = tuple(scale * cosine / (2 * sine.clamp_min(1e-18)) * c for c in axial)
    along = -scale * sine
    to_first = (cross(axis, b) for b in _rows(second))
    to_second = (cross(a, axis) for a in _rows(first))
    return (
        *(c + along * x for c, x in zip((c for row in to_first for c in row), second, strict=True)),
        *(c + along * x for c, x in zip((c for row in to_second for c in row), first, strict=True)),
    )


_DISTANCE = ColumnFormula(_distance, _distance_backward)
