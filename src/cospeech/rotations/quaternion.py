"""Arithmetic of quaternions, real part first (wxyz)."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, cross, dot

__all__ = ["quaternion_apply", "quaternion_conjugate", "quaternion_multiply"]


def quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton products: as rotations, first ``right``, then ``left``, like matrices.

    Args:
        left: Quaternions wxyz, ``(..., 4)``, of any length.
        right: The same; leading axes broadcast.

    Returns:
        Products, ``(..., 4)``; the lengths multiply.

    Raises:
        ValueError: If a last axis is not 4 wide or the leading axes do not broadcast.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("left", left, "... 4")
    check_shape("right", right, "... 4")
    return _MULTIPLY(left, right)


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    """Quaternions with their vector part negated; for unit quaternions the inverse rotations.

    Args:
        quaternion: Quaternions wxyz, ``(..., 4)``.

    Returns:
        Conjugates, ``(..., 4)``.

    Raises:
        ValueError: If the last axis is not 4 wide.
    """
    check_shape("quaternion", quaternion, "... 4")
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], dim=-1)


def quaternion_apply(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Vectors rotated by unit quaternions.

    Args:
        quaternion: Unit quaternions wxyz, ``(..., 4)``.
        vector: Vectors, ``(..., 3)``; leading axes broadcast.

    Returns:
        Rotated vectors, ``(..., 3)``.

    Raises:
        ValueError: If a last axis has another width or the leading axes do not broadcast.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("quaternion", quaternion, "... 4")
    check_shape("vector", vector, "... 3")
    return _APPLY(quaternion, vector)


def _multiply(left: Columns, right: Columns) -> Columns:
    a, b, c, d = left
    w, x, y, z = right
    b_, c_, d_ = -b, -c, -d
    return (
        dot((a, b_, c_, d_), (w, x, y, z)),
        dot((a, b, c, d_), (x, w, z, y)),
        dot((a, b_, c, d), (y, z, w, x)),
        dot((a, b, c_, d), (z, y, x, w)),
    )


def _multiply_backward(left: Columns, right: Columns, grad: Columns) -> Columns:
    return *_multiply(grad, _conjugate(right)), *_multiply(_conjugate(left), grad)


def _conjugate(quaternion: Columns) -> Columns:
    w, x, y, z = quaternion
    return w, -x, -y, -z


def _apply(quaternion: Columns, vector: Columns) -> Columns:
    """The sum v + w t + p x t with t = 2 p x v and the vector part p."""
    w, *part = quaternion
    p = tuple(part)
    t = tuple(2 * c for c in cross(p, vector))
    return tuple(torch.addcmul(v, w, c) + d for v, c, d in zip(vector, t, cross(p, t), strict=True))


def _apply_backward(quaternion: Columns, vector: Columns, grad: Columns) -> Columns:
    w, *part = quaternion
    p = tuple(part)
    t = tuple(2 * c for c in cross(p, vector))
    # To the vector: rotate back. To p: through t, and as the left factor of p x t.
    turned = tuple(2 * (w * g + c) for g, c in zip(grad, cross(grad, p), strict=True))
    to_vector = (g + c for g, c in zip(grad, cross(turned, p), strict=True))
    to_part = (a + b for a, b in zip(cross(vector, turned), cross(t, grad), strict=True))
    return dot(t, grad), *to_part, *to_vector


_MULTIPLY = ColumnFormula(_multiply, _multiply_backward)
_APPLY = ColumnFormula(_apply, _apply_backward)
