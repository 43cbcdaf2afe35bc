"""The angle between rotations, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["geodesic_angles", "geodesic_loss"]


def geodesic_angles(predicted: Tensor, target: Tensor, *, margin: float = 1e-6) -> Tensor:
    """The angle of the rotation from one matrix to the other, with a gradient that stays finite.

    ``acos(clamp((tr(P Q^T) - 1) / 2, -1 + margin, 1 - margin))``. The clamp bounds the slope of the arc cosine, at a
    price: equal rotations have an angle of about ``sqrt(2 margin)``, not 0, and no gradient. To measure rather than to
    train, use ``cospeech.rotations.geodesic_distance``, which is exact.

    Args:
        predicted: Rotation matrices, ``(..., 3, 3)``.
        target: The same shape.
        margin: How far the cosine is kept from -1 and 1.

    Returns:
        Angles in radians, ``(...)``.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> from cospeech.rotations import axis_angle_to_matrix
        >>> turned = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.6]))
        >>> [round(geodesic_angles(turned, other).item(), 4) for other in (torch.eye(3), turned)]
        [0.6, 0.0014]
    """
    check_shape("predicted", predicted, "... 3 3")
    if predicted.shape != target.shape:
        shapes = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        raise ValueError(f"`predicted` and `target` must have the same shape; got {shapes}.")
    # Row by row, as a product of matrices would add: near zero the arc cosine shows the last bit.
    first, second, third = (predicted * target).sum(-1).unbind(-1)
    cosine = (first + second + third - 1) / 2
    return torch.acos(cosine.clamp(-1 + margin, 1 - margin))


def geodesic_loss(predicted: Tensor, target: Tensor, *, margin: float = 1e-6) -> Tensor:
    """Mean of ``geodesic_angles``, a scalar in radians; arguments as there.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 (term "geodesic").
    """
    return geodesic_angles(predicted, target, margin=margin).mean()
