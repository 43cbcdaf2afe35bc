"""Axis-angle vectors, unit quaternions (wxyz) and rotation matrices, each from each.

Conventions: right-handed, column vectors, so a matrix rotates ``matrix @ vector``; an axis-angle vector points along
the axis and its length is the angle in radians; a quaternion has its real part first.

The gradients are analytic and exact everywhere, including angles of 0 and pi. Where a function has a cut (the
half turn, whose axis may point either way), it is the gradient of the side that is returned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, dot, select

__all__ = [
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
]


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation matrices from axis-angle vectors.

    Args:
        axis_angle: Axis times angle in radians, any length, ``(..., 3)``.

    Returns:
        Rotation matrices for column vectors, ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis is not 3 wide.
        TypeError: If the numbers are not floating-point.

    Reference:
        Rodrigues' formula.

    Example:
        >>> axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.6])) @ torch.tensor([1.0, 0.0, 0.0])  # X towards Y
        tensor([0.8253, 0.5646, 0.0000])
    """
    check_shape("axis_angle", axis_angle, "... 3")
    return _as_matrix(AXIS_ANGLE_TO_MATRIX(axis_angle))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors from rotation matrices.

    Args:
        matrix: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Axis times angle in radians, angle in [0, pi], ``(..., 3)``. A half turn has two such vectors, ``v`` and
        ``-v``; one of them is returned.

    Raises:
        ValueError: If the last two axes are not 3 by 3.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("matrix", matrix, "... 3 3")
    return MATRIX_TO_AXIS_ANGLE(matrix.flatten(-2))


def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """Unit quaternions from axis-angle vectors.

    Args:
        axis_angle: Axis times angle in radians, any length, ``(..., 3)``.

    Returns:
        Unit quaternions wxyz, ``(..., 4)``; ``w`` is negative for angles between pi and 3 pi.

    Raises:
        ValueError: If the last axis is not 3 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("axis_angle", axis_angle, "... 3")
    return AXIS_ANGLE_TO_QUATERNION(axis_angle)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Axis-angle vectors from quaternions.

    Args:
        quaternion: Quaternions wxyz, ``(..., 4)``; ``q`` and ``-q`` are the same rotation. They need not be of
            exactly unit length: the length has no influence.

    Returns:
        Axis times angle in radians, angle in [0, pi], ``(..., 3)``.

    Raises:
        ValueError: If the last axis is not 4 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("quaternion", quaternion, "... 4")
    return QUATERNION_TO_AXIS_ANGLE(quaternion)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrices from quaternions.

    Args:
        quaternion: Quaternions wxyz, ``(..., 4)``; ``q`` and ``-q`` are the same rotation. They need not be of
            exactly unit length: the length has no influence. Zero quaternions give non-finite matrices.

    Returns:
        Rotation matrices for column vectors, ``(..., 3, 3)``.

    Raises:
        ValueError: If the last axis is not 4 wide.
        TypeError: If the numbers are not floating-point.
    """
    check_shape("quaternion", quaternion, "... 4")
    return _as_matrix(QUATERNION_TO_MATRIX(quaternion))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions from rotation matrices.

    Args:
        matrix: Rotation matrices, ``(..., 3, 3)``.

    Returns:
        Unit quaternions wxyz with ``w >= 0``, ``(..., 4)``.

    Raises:
        ValueError: If the last two axes are not 3 by 3.
        TypeError: If the numbers are not floating-point.

    Note:
        Four formulas exist, each dividing by another component. The one used divides by a component of at least 1/2,
        so nothing is lost at any angle.

    Reference:
        Shepperd, "Quaternion from Rotation Matrix", 1978; the choice by three comparisons is Mike Day's,
        "Converting a Rotation Matrix to a Quaternion", Insomniac Games, 2015.
    """
    check_shape("matrix", matrix, "... 3 3")
    return MATRIX_TO_QUATERNION(matrix.flatten(-2))


def _as_matrix(nine: Tensor) -> Tensor:
    return nine.reshape(*nine.shape[:-1], 3, 3)


def _length(vector: Columns) -> Tensor:
    """Length of vectors, at least 1e-8: below, sines are angles and cosines are 1 in float64 too."""
    return dot(vector, vector).clamp_min(1e-16).sqrt()


def _angle(axis_angle: Columns) -> Tensor:
    """The same, rounded once: summed in float64, where the device has it, since angles near pi feel every digit."""
    dtype, device = axis_angle[0].dtype, axis_angle[0].device
    exact = axis_angle if device.type == "mps" else tuple(c.double() for c in axis_angle)
    return _length(exact).to(dtype)


def _axis_angle_to_matrix(axis_angle: Columns) -> Columns:
    """R = cos I + sin [u]x + (1 - cos) u u^T, with the unit axis u."""
    angle = _angle(axis_angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    versine = 1 - cos
    x, y, z = (c / angle for c in axis_angle)
    vx, vy, vz = versine * x, versine * y, versine * z
    sx, sy, sz = sin * x, sin * y, sin * z
    xy, yz, zx = vx * y, vy * z, vz * x
    return (
        torch.addcmul(cos, vx, x), xy - sz, zx + sy,
        xy + sz, torch.addcmul(cos, vy, y), yz - sx,
        zx - sy, yz + sx, torch.addcmul(cos, vz, z),
    )  # fmt: skip


def _axis_angle_to_matrix_backward(axis_angle: Columns, grad: Columns) -> Columns:
    """Of cos I + a [v]x + b v v^T with a = sin / angle, b = (1 - cos) / angle^2, in terms of the vector v."""
    angle = _length(axis_angle)
    cos_half, sin_half = torch.cos(angle / 2), torch.sin(angle / 2)
    sinc = sin_half / angle
    a, b = 2 * sinc * cos_half, 2 * sinc * sinc
    cos = 1 - 2 * sin_half * sin_half
    squared = angle * angle
    a_slope, b_slope = (cos - a) / squared, (a - 2 * b) / squared  # da/dangle / angle
    axial, product, trace = _gradient_parts(grad, axis_angle)
    along = a_slope * dot(axial, axis_angle) + b_slope / 2 * dot(product, axis_angle) - a * trace
    return tuple(a * p + b * q + along * v for p, q, v in zip(axial, product, axis_angle, strict=True))


def _axis_angle_to_quaternion(axis_angle: Columns) -> Columns:
    angle = _angle(axis_angle)
    half = angle / 2
    scale = torch.sin(half) / angle
    x, y, z = axis_angle
    return torch.cos(half), scale * x, scale * y, scale * z


def _axis_angle_to_quaternion_backward(axis_angle: Columns, grad: Columns) -> Columns:
    grad_w, *grad_vector = grad
    angle = _length(axis_angle)
    w, scale = torch.cos(angle / 2), torch.sin(angle / 2) / angle
    slope = (w / 2 - scale) / (angle * angle)
    along = slope * dot(axis_angle, tuple(grad_vector)) - scale / 2 * grad_w
    return tuple(scale * g + along * v for g, v in zip(grad_vector, axis_angle, strict=True))


def _quaternion_to_axis_angle(quaternion: Columns) -> Columns:
    w, x, y, z = quaternion
    sine = _length((x, y, z))
    scale = torch.copysign(torch.atan2(sine, w.abs()) * 2 / sine, w)
    return scale * x, scale * y, scale * z


def _quaternion_to_axis_angle_backward(quaternion: Columns, grad: Columns) -> Columns:
    w, *vector = quaternion
    sine = _length(tuple(vector))
    scale = torch.copysign(torch.atan2(sine, w.abs()) * 2 / sine, w)
    squared = sine * sine
    norm = torch.addcmul(squared, w, w)
    inner = dot(tuple(vector), grad)
    along = (2 * w / norm - scale) / squared * inner
    return -2 * inner / norm, *(scale * g + along * v for g, v in zip(grad, vector, strict=True))


def _quaternion_to_matrix(quaternion: Columns) -> Columns:
    w, x, y, z = quaternion
    scale = 2 / dot(quaternion, quaternion)
    x2, y2, z2 = scale * x, scale * y, scale * z
    xx, yy, zz = x * x2, y * y2, z * z2
    xy, yz, zx = x * y2, y * z2, z * x2
    down = 1 - zz
    return (
        down - yy, torch.addcmul(xy, w, z2, value=-1), torch.addcmul(zx, w, y2),
        torch.addcmul(xy, w, z2), down - xx, torch.addcmul(yz, w, x2, value=-1),
        torch.addcmul(zx, w, y2, value=-1), torch.addcmul(yz, w, x2), 1 - (xx + yy),
    )  # fmt: skip


def _quaternion_to_matrix_backward(quaternion: Columns, grad: Columns) -> Columns:
    """Of 1 + 2 / |q|^2 M(q), M quadratic: the gradient of M without its part along q."""
    w, *vector = quaternion
    axial, product, trace = _gradient_parts(grad, tuple(vector))
    full = (
        dot(axial, tuple(vector)),
        *(w * a + p - 2 * trace * v for a, p, v in zip(axial, product, vector, strict=True)),
    )
    scale = 2 / dot(quaternion, quaternion)
    along = scale / 2 * dot(full, quaternion)
    return tuple(scale * (f - along * q) for f, q in zip(full, quaternion, strict=True))


def _gradient_parts(grad: Columns, vector: Columns) -> tuple[Columns, Columns, Tensor]:
    """What gradients of a I + b [v]x + c v v^T are made of: axial vector and trace of G, and (G + G^T) v."""
    g00, g01, g02, g10, g11, g12, g20, g21, g22 = grad
    s01, s12, s20 = g01 + g10, g12 + g21, g20 + g02
    product = (
        dot((g00 + g00, s01, s20), vector),
        dot((s01, g11 + g11, s12), vector),
        dot((s20, s12, g22 + g22), vector),
    )
    return (g21 - g12, g02 - g20, g10 - g01), product, g00 + g11 + g22


def _matrix_to_quaternion(matrix: Columns) -> Columns:
    """The column of 4 q q^T, linear in the matrix, whose diagonal entry is at least 1, normalised."""
    m00, _, _, _, m11, _, _, _, m22 = matrix
    by_w, by_x, by_y, by_z = _four_q_q(matrix)
    low, x_over_y, z_over_w = _choice(m00, m11, m22)
    chosen = tuple(
        select(low, select(x_over_y, x, y), select(z_over_w, z, w))
        for w, x, y, z in zip(by_w, by_x, by_y, by_z, strict=True)
    )
    scale = torch.copysign(dot(chosen, chosen).rsqrt(), chosen[0])
    return tuple(scale * c for c in chosen)


def _matrix_to_quaternion_backward(matrix: Columns, grad: Columns) -> Columns:
    m00, _, _, _, m11, _, _, _, m22 = matrix
    low, x_over_y, z_over_w = _choice(m00, m11, m22)
    # 1 for the chosen column, 0 for the others.
    on_x, on_z = low * x_over_y, z_over_w - low * z_over_w
    on_y, on_w = low - on_x, 1 - low - on_z
    rows = zip(*_four_q_q(matrix), strict=True)
    chosen = tuple(on_w * w + on_x * x + on_y * y + on_z * z for w, x, y, z in rows)
    scale = torch.copysign(dot(chosen, chosen).rsqrt(), chosen[0])
    along = dot(chosen, grad) * scale * scale
    w, x, y, z = (scale * (g - along * c) for g, c in zip(grad, chosen, strict=True))
    ww, xx, yy, zz = on_w * w, on_x * x, on_y * y, on_z * z
    wx, wy, wz = on_w * x + on_x * w, on_w * y + on_y * w, on_w * z + on_z * w
    xy, yz, zx = on_x * y + on_y * x, on_y * z + on_z * y, on_z * x + on_x * z
    return (
        ww + xx - yy - zz, xy - wz, zx + wy,
        xy + wz, ww - xx + yy - zz, yz - wx,
        zx - wy, yz + wx, ww - xx - yy + zz,
    )  # fmt: skip


def _four_q_q(matrix: Columns) -> tuple[Columns, Columns, Columns, Columns]:
    """The symmetric matrix 4 q q^T, column by column."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, yz, zx = m10 + m01, m21 + m12, m02 + m20
    plus, minus, up, down = m00 + m11, m00 - m11, 1 + m22, 1 - m22
    return (up + plus, wx, wy, wz), (wx, down + minus, xy, zx), (wy, xy, down - minus, yz), (wz, zx, yz, up - plus)


def _choice(m00: Tensor, m11: Tensor, m22: Tensor) -> Columns:
    """Conditions as 0 or 1: x or y rather than z or w; x rather than y; z rather than w."""
    return (-m22).sign().relu(), (m00 - m11).sign().relu(), (-m00 - m11).sign().relu()


AXIS_ANGLE_TO_MATRIX = ColumnFormula(_axis_angle_to_matrix, _axis_angle_to_matrix_backward)
AXIS_ANGLE_TO_QUATERNION = ColumnFormula(_axis_angle_to_quaternion, _axis_angle_to_quaternion_backward)
QUATERNION_TO_AXIS_ANGLE = ColumnFormula(_quaternion_to_axis_angle, _quaternion_to_axis_angle_backward)
QUATERNION_TO_MATRIX = ColumnFormula(_quaternion_to_matrix, _quaternion_to_matrix_backward)
MATRIX_TO_QUATERNION = ColumnFormula(_matrix_to_quaternion, _matrix_to_quaternion_backward)
MATRIX_TO_AXIS_ANGLE = MATRIX_TO_QUATERNION.then(QUATERNION_TO_AXIS_ANGLE)
