"""Distances between rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, cross, dot, select

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
        Up to a right angle from the difference of the matrices, which is exact for near ones where their product is
        not (and ``acos`` of its trace is worst); beyond from sine and cosine, since that difference flattens out. So
        all digits are kept at 0 and at pi. The distance has a kink there, like ``abs`` at 0: the gradient is 0 at the
        kink, and of the right length everywhere else.
    """
    check_shape("first", first, "... 3 3")
    check_shape("second", second, "... 3 3")
    return _DISTANCE(first.flatten(-2), second.flatten(-2)).squeeze(-1)


def _distance(first: Columns, second: Columns) -> Columns:
    near, chord, _ = _chord(first, second)
    sine, _ = _sine(first, second)
    half = torch.atan2(chord, (1 - chord * chord).clamp_min(0.25).sqrt())
    return (select(near, half + half, torch.atan2(sine, 1 - 2 * chord * chord)),)


def _distance_backward(first: Columns, second: Columns, grad: Columns) -> Columns:
    near, chord, difference = _chord(first, second)
    sine, axial = _sine(first, second)
    cosine = 1 - 2 * chord * chord
    # Near: d angle = 2 d chord / sqrt(1 - chord^2). Far: (cosine d sine - sine d cosine) / (sine^2 + cosine^2).
    # Both with 8 chord d chord = difference . d difference, 2 d sine = axis . d axial.
    far = (1 - near) * grad[0] / (2 * (sine * sine + cosine * cosine)).clamp_min(TINY)
    along = near * grad[0] / (4 * chord.clamp_min(TINY) * (1 - chord * chord).clamp_min(0.25).sqrt()) + far * sine
    scale = far * cosine / (2 * sine.clamp_min(TINY))
    axis = tuple(scale * c for c in axial)
    to_first = (c for row in _rows(second) for c in cross(axis, row))
    to_second = (c for row in _rows(first) for c in cross(row, axis))
    return (
        *(torch.addcmul(c, along, d) for c, d in zip(to_first, difference, strict=True)),
        *(torch.addcmul(c, along, d, value=-1) for c, d in zip(to_second, difference, strict=True)),
    )


TINY = 1e-18  # against division by zero; the numerators are 0 there


def _chord(first: Columns, second: Columns) -> tuple[Tensor, Tensor, Columns]:
    """1 up to a right angle, else 0; sine of half the angle; difference of the matrices."""
    difference = tuple(a - b for a, b in zip(first, second, strict=True))
    squared = dot(difference, difference) / 8
    return (0.5 - squared).sign().relu(), squared.sqrt(), difference


def _sine(first: Columns, second: Columns) -> tuple[Tensor, Columns]:
    """Sine of the angle; 2 sine times the axis, which is the sum of the rows' cross products."""
    crosses = [cross(b, a) for a, b in zip(_rows(first), _rows(second), strict=True)]
    axial = tuple(x + y + z for x, y, z in zip(*crosses, strict=True))
    return dot(axial, axial).sqrt() / 2, axial


def _rows(matrix: Columns) -> tuple[Columns, Columns, Columns]:
    return matrix[:3], matrix[3:6], matrix[6:]


_DISTANCE = ColumnFormula(_distance, _distance_backward)
