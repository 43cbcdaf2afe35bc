"""Losses on points in space and on how they move."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

__all__ = ["point_losses"]


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
