"""Rot6D: six of the nine numbers of a rotation matrix, its first two rows or its first two columns.

The papers keep columns, the published gesture programs rows (as pytorch3d does). The same six numbers read the other
way give the transpose, so the names here say which: plain ``rot6d`` is rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, cross, dot
from cospeech.rotations.conversions import AXIS_ANGLE_TO_MATRIX, MATRIX_TO_AXIS_ANGLE

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
    """Rotation matrices from their first two rows.

    Args:
        rot6d: Row 0 then row 1, ``(..., 6)``. The rows need not be orthonormal; they are made so by Gram-Schmidt,
            row 0 first.

    Returns:
        Rotation matrices for column vectors, ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis is not 6 wide.
        TypeError: If the numbers are not floating-point.

    Note:
        Zhou et al. keep the first two *columns*; read as columns the same six numbers give the transpose. Use
        ``rot6d_columns_to_matrix`` for those. Degenerate rows are those of ``normalize_rot6d``; the third row is
        then zero, and so are the gradients through rows without a direction.

    Reference:
        Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, appendix B.
    """
    check_shape("rot6d", rot6d, "... 6")
    return _TO_MATRIX(rot6d).reshape(*rot6d.shape[:-1], 3, 3)


def matrix_to_rot6d(matrix: Tensor) -> Tensor:
    """First two rows of rotation matrices.

    Args:
        matrix: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Row 0 then row 1, ``(..., 6)``; a view of the matrices where their memory allows it.

    Raises:
        ValueError: If the last two axes are not 3 by 3.
    """
    check_shape("matrix", matrix, "... 3 3")
    return matrix[..., :2, :].flatten(-2)


def rot6d_columns_to_matrix(rot6d: Tensor) -> Tensor:
    """Rotation matrices from their first two columns.

    Args:
        rot6d: Column 0 then column 1, ``(..., 6)``, orthonormal or not, as in ``rot6d_to_matrix``.

    Returns:
        Rotation matrices for column vectors, ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis is not 6 wide.
        TypeError: If the numbers are not floating-point.

    Reference:
        Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, appendix B.
    """
    check_shape("rot6d", rot6d, "... 6")
    return _COLUMNS_TO_MATRIX(rot6d).reshape(*rot6d.shape[:-1], 3, 3)


def matrix_to_rot6d_columns(matrix: Tensor) -> Tensor:
    """First two columns of rotation matrices.

    Args:
        matrix: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Column 0 then column 1, ``(..., 6)``.

    Raises:
        ValueError: If the last two axes are not 3 by 3.
    """
    check_shape("matrix", matrix, "... 3 3")
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def axis_angle_to_rot6d(axis_angle: Tensor) -> Tensor:
    """First two rows of the rotation matrices of axis-angle vectors.

    Args:
        axis_angle: Axis times angle in radians, ``(..., 3)``.

    Returns:
        Row 0 then row 1, ``(..., 6)``.

    Raises:
        ValueError: If the last axis is not 3 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("axis_angle", axis_angle, "... 3")
    return _FROM_AXIS_ANGLE(axis_angle)


def rot6d_to_axis_angle(rot6d: Tensor) -> Tensor:
    """Axis-angle vectors of rotations given by their first two rows.

    Args:
        rot6d: Row 0 then row 1, ``(..., 6)``, orthonormal or not, as in ``rot6d_to_matrix``.

    Returns:
        Axis times angle in radians, angle in [0, pi], ``(..., 3)``.

    Raises:
        ValueError: If the last axis is not 6 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("rot6d", rot6d, "... 6")
    return _TO_AXIS_ANGLE(rot6d)


def normalize_rot6d(rot6d: Tensor) -> Tensor:
    """The two rows made orthonormal by Gram-Schmidt, row 0 first.

    Args:
        rot6d: Two rows (or two columns), one after the other, ``(..., 6)``.

    Returns:
        The same, orthonormal, ``(..., 6)``. A row without a direction of its own comes out zero: one that is zero,
        or a second one parallel to the first up to rounding. All else being finite, the result is finite.

    Raises:
        ValueError: If the last axis is not 6 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("rot6d", rot6d, "... 6")
    return _NORMALIZE(rot6d)


TINY = 1e-36  # of squared lengths: shorter rows count as zero


def _gram_schmidt(rot6d: Columns) -> tuple[Columns, Columns, Tensor, Tensor, Tensor]:
    """Both orthonormal rows, the part of the second along the first, and what the rows were multiplied by."""
    a, b = rot6d[:3], rot6d[3:]
    scale_a = dot(a, a).clamp_min(TINY).rsqrt()
    a = tuple(scale_a * c for c in a)
    along = dot(a, b)
    b = tuple(torch.addcmul(y, along, x, value=-1) for x, y in zip(a, b, strict=True))
    squared, noise = dot(b, b), along * (4 * torch.finfo(along.dtype).eps)
    has_direction = torch.addcmul(squared, noise, noise, value=-1).sign().relu()
    scale_b = has_direction * squared.clamp_min(TINY).rsqrt()
    return a, tuple(scale_b * c for c in b), along, scale_a, scale_b


def _to_matrix(rot6d: Columns) -> Columns:
    first, second, *_ = _gram_schmidt(rot6d)
    return *first, *second, *cross(first, second)


def _to_matrix_backward(rot6d: Columns, grad: Columns) -> Columns:
    orthonormal = _gram_schmidt(rot6d)
    first, second, *_ = orthonormal
    third = grad[6:]
    to_first = (g + c for g, c in zip(grad[:3], cross(second, third), strict=True))
    to_second = (g + c for g, c in zip(grad[3:6], cross(third, first), strict=True))
    return _gram_schmidt_backward(rot6d, orthonormal, tuple(to_first), tuple(to_second))


def _normalize(rot6d: Columns) -> Columns:
    first, second, *_ = _gram_schmidt(rot6d)
    return *first, *second


def _normalize_backward(rot6d: Columns, grad: Columns) -> Columns:
    return _gram_schmidt_backward(rot6d, _gram_schmidt(rot6d), grad[:3], grad[3:])


def _gram_schmidt_backward(
    rot6d: Columns,
    orthonormal: tuple[Columns, Columns, Tensor, Tensor, Tensor],
    to_first: Columns,
    to_second: Columns,
) -> Columns:
    a, b, along, scale_a, scale_b = orthonormal
    residual = _without(to_second, b, scale_b)  # gradient of the second row less its part along the first
    inner = dot(a, residual)
    to_a = tuple(
        torch.addcmul(g, inner, y, value=-1) - along * r for g, y, r in zip(to_first, rot6d[3:], residual, strict=True)
    )
    to_b = (torch.addcmul(r, inner, x, value=-1) for r, x in zip(residual, a, strict=True))
    has_direction = (dot(rot6d[:3], rot6d[:3]) - TINY).sign().relu()
    return *_without(to_a, a, has_direction * scale_a), *to_b


def _without(grad: Columns, unit: Columns, scale: Tensor) -> Columns:
    """Gradient through a normalisation: the part along the unit vector drops out."""
    inner = dot(grad, unit)
    return tuple(scale * torch.addcmul(g, inner, u, value=-1) for g, u in zip(grad, unit, strict=True))


def _transpose(matrix: Columns) -> Columns:
    return tuple(matrix[3 * column + row] for row in range(3) for column in range(3))


def _two_rows(matrix: Columns) -> Columns:
    return matrix[:6]


def _two_rows_backward(matrix: Columns, grad: Columns) -> Columns:
    return *grad, *(torch.zeros_like(grad[0]),) * 3


_TO_MATRIX = ColumnFormula(_to_matrix, _to_matrix_backward)
_COLUMNS_TO_MATRIX = _TO_MATRIX.then(ColumnFormula(_transpose, lambda _, grad: _transpose(grad)))
_TO_AXIS_ANGLE = _TO_MATRIX.then(MATRIX_TO_AXIS_ANGLE)
_FROM_AXIS_ANGLE = AXIS_ANGLE_TO_MATRIX.then(ColumnFormula(_two_rows, _two_rows_backward))
_NORMALIZE = ColumnFormula(_normalize, _normalize_backward)
