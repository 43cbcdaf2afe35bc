"""Losses on points in space and on how they move."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["contact_loss", "difference_losses", "point_losses"]


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
    losses = []
    for order in range(3):
        error = F.smooth_l1_loss(
            predicted.diff(n=order, dim=-3), target.diff(n=order, dim=-3), beta=beta, reduction="none"
        )
        losses.append((error if weights is None else error * weights[:, None]).mean())
    return losses[0], losses[1], losses[2]


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
