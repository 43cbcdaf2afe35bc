"""Losses on points in space and on how they move."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cospeech._checks import check_shape

__all__ = ["contact_loss", "difference_losses", "point_error_losses", "point_losses"]


def point_losses(
    predicted: Tensor, target: Tensor, *, beta: float = 0.02, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth L1 distances of positions, of velocities and of accelerations.

    Differences from frame to frame are not divided by the frame's duration, so all three are in the units of the input.

    Args:
        predicted: Points, ``(..., T, J, 3)``, at least three frames.
        target: The same shape.
        beta: Below this difference the loss is quadratic, in the units of the points.
        weights: How much each point counts, ``(J)``; all the same when not given.

    Returns:
        Three means: position, velocity, acceleration.

    Raises:
        ValueError: If the shapes differ or there are fewer than three frames.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 (terms "vertices", "velocity" and "acceleration").

    Example:
        >>> import torch
        >>> still = torch.zeros(4, 1, 3)
        >>> [round(float(x), 6) for x in point_losses(still + 0.02, still)]
        [0.01, 0.0, 0.0]
    """
    if predicted.shape != target.shape or predicted.ndim < 3 or predicted.shape[-3] < 3:
        raise ValueError(
            "`predicted` and `target` must be alike, (..., T, J, 3) with T at least 3; "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}."
        )
    if weights is not None:
        check_shape("weights", weights, f"{predicted.shape[-2]}")
    return point_error_losses(predicted - target, beta=beta, weights=weights)


def point_error_losses(
    errors: Tensor, *, beta: float = 0.02, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``point_losses`` of the differences between predicted and target points, which is all that they depend on.

    Points that hang on a joint are linear in its position and rotation, so their errors can be had without the points.

    Args:
        errors: ``(..., T, J, 3)``, at least three frames.
        beta: See ``point_losses``.
        weights: See ``point_losses``.

    Returns:
        Three means: position, velocity, acceleration. First derivatives only.

    Raises:
        ValueError: If there are fewer than three frames.
    """
    if errors.ndim < 3 or errors.shape[-3] < 3:
        raise ValueError(f"`errors` must be (..., T, J, 3) with T at least 3; got {tuple(errors.shape)}.")
    frames = errors.reshape(-1, *errors.shape[-3:])
    position, velocity, acceleration = _SmoothDifferences.apply(frames, beta, weights)  # type: ignore[no-untyped-call]
    return position, velocity, acceleration


class _SmoothDifferences(torch.autograd.Function):
    """Smooth L1 means of ``(N, T, J, 3)`` and of its differences in time, each with its gradient in the same pass.

    With ``c = clamp(d, -beta, beta)`` the loss of ``d`` is ``c (d - c / 2) / beta`` and its slope ``c / beta``.
    """

    @staticmethod
    def forward(ctx: Any, errors: Tensor, beta: float, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        losses, slopes, difference = [], [], errors
        for order in range(3):
            if order:
                difference = difference[:, 1:] - difference[:, :-1]
            near = difference.clamp(-beta, beta)
            weighted = near if weights is None else near * weights.to(near)[:, None]
            total = (weighted * torch.sub(difference, near, alpha=0.5)).sum()
            losses.append(total / (beta * difference.numel()))
            slopes.append(weighted)
        ctx.save_for_backward(*slopes)
        ctx.beta = beta
        return losses[0], losses[1], losses[2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # From the highest order down: a difference passes its slope on to the later value and, negated, to the earlier.
        result: Tensor | None = None
        for slope, gradient in zip(ctx.saved_tensors[::-1], gradients[::-1], strict=True):
            slope = slope * (gradient / (ctx.beta * slope.numel()))
            if result is not None:
                slope[:, 1:] += result
                slope[:, :-1] -= result
            result = slope
        assert result is not None
        return result, None, None


def difference_losses(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute differences of the first and the second differences along time, for any channels.

    Args:
        predicted: Features, ``(..., T, C)``, at least three frames.
        target: The same shape.

    Returns:
        Two scalars, velocity and acceleration, in the unit of the channels per frame and per frame squared.

    Raises:
        ValueError: If the shapes differ or there are fewer than three frames.
    """
    if predicted.shape != target.shape or predicted.ndim < 2 or predicted.shape[-2] < 3:
        raise ValueError(
            "`predicted` and `target` must be alike, (..., T, C) with T at least 3; "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}."
        )
    velocity = (predicted - target).diff(dim=-2)
    return velocity.abs().mean(), velocity.diff(dim=-2).abs().mean()


def contact_loss(feet: Tensor, contact: Tensor, *, rate_hz: float) -> Tensor:
    """Mean speed of foot joints while they should stand, which keeps generated feet from sliding.

    Args:
        feet: Positions of the foot joints, metres, ``(..., T, F, 3)``, at least two frames.
        contact: Whether each of them stands, bool ``(..., T, F)``, for example ``cospeech.skeleton.foot_contact`` of
            the ground truth. The step from a frame to the next counts if the joint stands in both.
        rate_hz: Frames per second.

    Returns:
        Metres per second over the steps in contact; 0 if there is none.

    Raises:
        ValueError: If the shapes do not fit or there are fewer than two frames.

    Example:
        >>> import torch
        >>> sliding = torch.tensor([[[0.0, 0, 0]], [[0.01, 0, 0]], [[0.02, 0, 0]]])
        >>> round(contact_loss(sliding, torch.ones(3, 1, dtype=torch.bool), rate_hz=30.0).item(), 4)
        0.3

    Reference:
        Tevet et al., "Human Motion Diffusion Model", ICLR 2023, equation 5, with speeds in place of their squares.
    """
    check_shape("feet", feet, "... T F 3")
    if contact.shape != feet.shape[:-1] or feet.shape[-3] < 2:
        raise ValueError(
            "`contact` must have the shape of `feet` without its last axis, and two frames at least; "
            f"got {tuple(contact.shape)} for {tuple(feet.shape)}."
        )
    standing = (contact[..., 1:, :] & contact[..., :-1, :]).to(feet.dtype)
    # The square root has no finite slope at 0, where a well-behaved foot is.
    speed = (feet.diff(dim=-3).square().sum(-1) + 1e-12).sqrt() * rate_hz
    return (speed * standing).sum() / standing.sum().clamp_min(1)
