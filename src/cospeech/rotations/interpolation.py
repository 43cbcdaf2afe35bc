"""Ways between rotations: exponential and logarithm map, slerp, mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations._columns import ColumnFormula, Columns, dot
from cospeech.rotations.conversions import axis_angle_to_matrix, matrix_to_axis_angle, quaternion_to_matrix

__all__ = ["exp_map", "log_map", "mean_rotation", "slerp"]


def exp_map(tangent: Tensor, base: Tensor | None = None) -> Tensor:
    """Rotations reached from a base by following a tangent for unit time: ``base @ exp(tangent)``.

    Args:
        tangent: Axis times angle in radians, in the frame of the base, ``(..., 3)``.
        base: Rotation matrices to start from, ``(..., 3, 3)``; the identity if not given.

    Returns:
        Rotation matrices, ``(..., 3, 3)``.

    Raises:
        ValueError: If a shape is wrong or the leading axes do not broadcast.
    """
    step = axis_angle_to_matrix(tangent)
    if base is None:
        return step
    check_shape("base", base, "... 3 3")
    return base @ step


def log_map(matrix: Tensor, base: Tensor | None = None) -> Tensor:
    """Shortest tangents that lead from a base to rotations: ``log(base^T @ matrix)``, the inverse of ``exp_map``.

    Args:
        matrix: Rotation matrices to reach, ``(..., 3, 3)``.
        base: Rotation matrices to start from, ``(..., 3, 3)``; the identity if not given.

    Returns:
        Axis times angle in radians, angle in [0, pi], in the frame of the base, ``(..., 3)``.

    Raises:
        ValueError: If a shape is wrong or the leading axes do not broadcast.

    Example:
        >>> start, end = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.0, 0.6]]))
        >>> matrix_to_axis_angle(exp_map(0.5 * log_map(end, base=start), base=start))  # half way
        tensor([0.0000, 0.0000, 0.4000])
    """
    check_shape("matrix", matrix, "... 3 3")
    if base is None:
        return matrix_to_axis_angle(matrix)
    check_shape("base", base, "... 3 3")
    return matrix_to_axis_angle(base.transpose(-1, -2) @ matrix)


def slerp(start: Tensor, end: Tensor, weight: Tensor | float) -> Tensor:
    """Unit quaternions at constant angular speed on the shortest way between two.

    Args:
        start: Unit quaternions wxyz at weight 0, ``(..., 4)``.
        end: Unit quaternions wxyz at weight 1, ``(..., 4)``; ``q`` and ``-q`` are the same end.
        weight: How far to go, ``(...)`` or a number; beyond [0, 1] the motion goes on. Leading axes broadcast.

    Returns:
        Unit quaternions wxyz, ``(..., 4)``: exactly ``start`` at weight 0, and ``end`` or ``-end``, whichever is
        nearer to ``start``, at weight 1. Between rotations half a turn apart there are two shortest ways; the one
        towards ``end`` as given is taken.

    Raises:
        ValueError: If a last axis is not 4 wide or the leading axes do not broadcast.
        TypeError: If the numbers are not floating-point.

    Note:
        For matrices use ``exp_map`` and ``log_map``, as in the example there.

    Reference:
        Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985.

    Example:
        >>> from cospeech.rotations import axis_angle_to_quaternion, quaternion_to_axis_angle
        >>> start, end = axis_angle_to_quaternion(torch.tensor([[0.0, 0.0, 0.2], [0.0, 0.0, 0.6]]))
        >>> quaternion_to_axis_angle(slerp(start, end, 0.5))
        tensor([0.0000, 0.0000, 0.4000])
    """
    check_shape("start", start, "... 4")
    check_shape("end", end, "... 4")
    dtype = torch.promote_types(start.dtype, end.dtype)
    weight = torch.as_tensor(weight, dtype=torch.promote_types(dtype, torch.float32), device=start.device)
    return _SLERP(start, end, weight[..., None]).to(dtype)


def mean_rotation(matrix: Tensor, weight: Tensor | None = None) -> Tensor:
    """Chordal means: the rotations with the least weighted sum of squared matrix differences to those given.

    Args:
        matrix: Rotation matrices, ``(..., N, 3, 3)``.
        weight: Weights, at least 0, ``(..., N)``; all equal if not given. Only their ratios matter.

    Returns:
        Rotation matrices, ``(..., 3, 3)``. Where the mean is not unique (half turns about all three axes, or
        weights of 0), one of the minimisers is returned, and its gradient means nothing; no error, since looking
        would make a GPU wait.

    Raises:
        ValueError: If a shape is wrong or N is 0.

    Note:
        Gradients are exact, also for a mean of equal rotations.

    Reference:
        Markley, Cheng, Crassidis and Oshman, "Averaging Quaternions", 2007; the eigenvector form is Davenport's.
    """
    check_shape("matrix", matrix, "... N 3 3")
    if matrix.shape[-3] == 0:
        raise ValueError("`matrix` must hold at least one rotation to average; got (..., 0, 3, 3).")
    dtype = matrix.dtype
    exact = torch.promote_types(dtype, torch.float32)
    if weight is None:
        total = matrix.to(exact).sum(-3)
    else:
        check_shape("weight", weight, "... N")
        total = torch.einsum("...n,...nij->...ij", weight.to(exact), matrix.to(exact))
    quaternion: Tensor = _TopEigenvector.apply(_davenport(total))  # type: ignore[no-untyped-call]
    return quaternion_to_matrix(quaternion).to(dtype)


def _slerp(start: Columns, end: Columns, weight: Columns) -> Columns:
    (t,) = weight
    near = torch.copysign(torch.ones_like(t), dot(start, end))
    end = tuple(near * c for c in end)
    apart = tuple(a - b for a, b in zip(start, end, strict=True))
    between = tuple(a + b for a, b in zip(start, end, strict=True))
    # Clamped where the weights are those of a straight line to the last digit, in float64 too.
    angle = 2 * torch.atan2(dot(apart, apart).clamp_min(1e-16).sqrt(), dot(between, between).sqrt())
    sine = torch.sin(angle)
    at_start, at_end = torch.sin((1 - t) * angle) / sine, torch.sin(t * angle) / sine
    return tuple(torch.addcmul(at_start * a, at_end, b) for a, b in zip(start, end, strict=True))


_SLERP = ColumnFormula(_slerp)


def _davenport(matrix: Tensor) -> Tensor:
    """The symmetric matrix K with trace(R(q)^T matrix) = q^T K q for unit quaternions q, ``(..., 4, 4)``."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    entries = [
        m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01,
        m21 - m12, m00 - m11 - m22, m10 + m01, m02 + m20,
        m02 - m20, m10 + m01, m11 - m00 - m22, m21 + m12,
        m10 - m01, m02 + m20, m21 + m12, m22 - m00 - m11,
    ]  # fmt: skip
    return torch.stack(entries, -1).reshape(*matrix.shape[:-2], 4, 4)


class _TopEigenvector(torch.autograd.Function):
    """Unit eigenvectors of the largest eigenvalues of symmetric matrices.

    The derivative of ``torch.linalg.eigh`` divides by the gaps between all eigenvalues, and for equal rotations three
    of four coincide; that of the top eigenvector needs only its own gaps.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
        return vectors[..., -1].contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # (value I - matrix) is singular along the vector alone, which the right side does not contain.
        matrix, vector = ctx.saved_tensors
        column, row = vector[..., :, None], vector[..., None, :]
        value = row @ matrix @ column
        shift = torch.finfo(matrix.dtype).eps * (1 + value)  # a mean that is not unique still gives numbers
        system = (value + shift) * torch.eye(4, dtype=matrix.dtype, device=matrix.device) - matrix + column * row
        across = grad[..., :, None] - column * (row @ grad[..., :, None])
        pulled: Tensor = torch.linalg.solve_ex(system, across).result
        result: Tensor = pulled * row
        return result
