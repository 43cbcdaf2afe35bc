"""EMAGE's training losses, term by term, none of which needs a body mesh.

Motion networks (the weights are 1 unless given; d1 and d2 are first and second differences along time):

* upper, hands: ``rotation_terms`` and ``quantizer_loss``.
* face: ``rotation_terms(squared=True)`` of the jaw, ``signal_terms(squared=True)`` of the expressions,
  ``quantizer_loss``.
* lower: ``rotation_terms``, mean squared error of contact, 20 times ``locked_feet_loss``, ``quantizer_loss``. The
  translation channels have no loss.
* global motion: ``signal_terms`` of each ground velocity and of the position, with 5 times their d1 and d2; mean
  squared error of contact; 20 times ``locked_feet_loss``.

Transformer: three passes (seed, audio, mask), each 3 times ``part_latent_loss`` of every part plus ``part_code_loss``
of all but the face.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the terms are those of the published programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.losses.geodesic import geodesic_loss

__all__ = [
    "MotionTerms",
    "central_velocity",
    "locked_feet_loss",
    "part_code_loss",
    "part_latent_loss",
    "rotation_terms",
    "signal_terms",
]


class MotionTerms(NamedTuple):
    """Distance of two motions: of their values, of their first, of their second differences along time."""

    value: Tensor
    velocity: Tensor
    acceleration: Tensor


def rotation_terms(predicted: Tensor, target: Tensor, *, squared: bool = False) -> MotionTerms:
    """The mean angle between rotations, and mean distances of the differences of their matrices.

    Args:
        predicted: Rotation matrices, ``(B, T, J, 3, 3)``, at least three frames.
        target: The same shape.
        squared: Whether distances of differences are squared rather than absolute.
    """
    terms = signal_terms(predicted.flatten(2), target.flatten(2), squared=squared)
    return terms._replace(value=geodesic_loss(predicted, target))


def signal_terms(predicted: Tensor, target: Tensor, *, squared: bool = False) -> MotionTerms:
    """Mean distances of signals and of their differences, which are per frame, not per second.

    Args:
        predicted: ``(B, T, C)``, at least three frames.
        target: The same shape.
        squared: Whether distances are squared rather than absolute.

    Raises:
        ValueError: If the shapes differ or there are fewer than three frames.
    """
    if predicted.shape != target.shape or predicted.ndim != 3 or predicted.shape[1] < 3:
        raise ValueError(
            "`predicted` and `target` must be alike, (B, T, C) with T at least 3; "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}."
        )
    error = predicted - target
    orders = (error, error.diff(dim=1), error.diff(n=2, dim=1))
    return MotionTerms(*(x.square().mean() if squared else x.abs().mean() for x in orders))


def central_velocity(positions: Tensor, *, rate_hz: float = 30.0) -> Tensor:
    """Velocities per second by central differences, one-sided at both ends: what the global motion network learns.

    Args:
        positions: ``(B, T, C)``, at least two frames.
        rate_hz: Frames per second.

    Example:
        >>> central_velocity(torch.tensor([[[0.0], [1.0], [4.0]]]), rate_hz=1.0).flatten()
        tensor([1., 2., 3.])
    """
    (velocity,) = torch.gradient(positions, spacing=1 / rate_hz, dim=1)
    return velocity


def locked_feet_loss(feet: Tensor, contact: Tensor, *, threshold: float = 0.95) -> Tensor:
    """Mean absolute step of foot joints from frame to frame, where the network says that they stand.

    Args:
        feet: Positions in metres, ``(B, T, F, 3)``.
        contact: Predicted, ``(B, T, F)``; the feet stand above ``threshold``. It takes no gradient here.
        threshold: Where standing begins.

    Note:
        Steps that do not count, and that of the last frame, enter the mean as zeros.
    """
    check_shape("feet", feet, "B T F 3")
    check_shape("contact", contact, " ".join(map(str, feet.shape[:-1])))
    steps = feet.diff(dim=1, append=feet[:, -1:])
    return (steps.abs() * (contact > threshold)[..., None]).mean()


def part_latent_loss(
    latents: Mapping[str, Tensor | None], targets: Mapping[str, Tensor | None], weights: Mapping[str, float]
) -> Tensor:
    """Weighted sum over the parts of the mean squared distances to the codes.

    Args:
        latents: Predicted, for each part ``(B, T, C)``.
        targets: The codes, rows of the codebooks, the same shapes; a part that is None is absent and has no loss.
        weights: Of each part; a part that is not named has no loss.
    """
    losses = [
        weights[part] * F.mse_loss(_present(latents, part), target)
        for part, target in targets.items()
        if target is not None and weights.get(part)
    ]
    return _sum(losses)


def part_code_loss(
    logits: Mapping[str, Tensor | None], targets: Mapping[str, Tensor | None], weights: Mapping[str, float]
) -> Tensor:
    """Weighted sum over the parts of the mean negative log-likelihoods of the codes.

    Args:
        logits: Predicted, for each part ``(B, T, N)``.
        targets: Indices of the codes, ``(B, T)``; a part that is None is absent and has no loss.
        weights: Of each part; a part that is not named has no loss.
    """
    losses = [
        weights[part] * F.cross_entropy(_present(logits, part).transpose(1, 2), target)
        for part, target in targets.items()
        if target is not None and weights.get(part)
    ]
    return _sum(losses)


def _present(parts: Mapping[str, Tensor | None], part: str) -> Tensor:
    found = parts.get(part)
    if found is None:
        raise ValueError(f"There is a target for {part!r}, but no prediction.")
    return found


def _sum(losses: list[Tensor]) -> Tensor:
    if not losses:
        raise ValueError("At least one part must have a target and a weight.")
    return torch.stack(losses).sum()
