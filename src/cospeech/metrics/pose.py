"""Errors of poses against a reference: joint position errors, recall of correct joints, semantic recall.

Positions are ``(..., T, J, 3)``; errors are in their units, and float64 where they are averages.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = [
    "acceleration_error",
    "correct_share",
    "joint_errors",
    "procrustes_errors",
    "root_aligned_errors",
    "semantic_recall",
]

BEAT_MEAN_SEMANTIC_SCORE = 0.165  # so that perfect recall has mean 1 on BEAT


def joint_errors(generated: Tensor, reference: Tensor) -> Tensor:
    """L2 distance of each joint, ``(..., T, J)``: the breakdown of MPJPE; float32 or float64 as given."""
    _check_pair(generated, reference)
    result: Tensor = torch.linalg.vector_norm(generated - reference, dim=-1)
    return result


def root_aligned_errors(generated: Tensor, reference: Tensor, *, missing: float | None = None) -> Tensor:
    """``joint_errors`` with the roots (joint 0) on each other: their mean over joints is MPJPE.

    Args:
        generated: ``(..., T, J, 3)``.
        reference: The same shape.
        missing: Reference joints whose x is this number are not there: their error is NaN. The published evaluator
            writes -2. Use ``nanmean``.

    Returns:
        ``(..., T, J)``.
    """
    _check_pair(generated, reference)
    errors = joint_errors(generated - generated[..., :1, :], reference - reference[..., :1, :])
    return errors if missing is None else errors.masked_fill(reference[..., 0] == missing, float("nan"))


def procrustes_errors(generated: Tensor, reference: Tensor) -> Tensor:
    """Errors that are left when each frame is moved, turned and scaled onto its reference: mean over joints PA-MPJPE.

    Args:
        generated: ``(..., T, J, 3)``.
        reference: The same shape.

    Returns:
        ``(..., T, J)``.
    """
    _check_pair(generated, reference)
    mean, goal = generated.mean(-2, keepdim=True), reference.mean(-2, keepdim=True)
    x, y = (generated - mean).double(), (reference - goal).double()
    u, values, vh = torch.linalg.svd(x.mT @ y)
    signs = torch.ones_like(values)
    signs[..., -1] = torch.linalg.det(u @ vh).sign()  # no reflections
    rotation = (u * signs[..., None, :]) @ vh
    scale = (values * signs).sum(-1) / x.square().sum((-1, -2)).clamp_min(torch.finfo(x.dtype).tiny)
    result: Tensor = torch.linalg.vector_norm(scale[..., None, None] * (x @ rotation) - y, dim=-1).to(generated.dtype)
    return result


def acceleration_error(generated: Tensor, reference: Tensor) -> Tensor:
    """L2 distance of second differences, ``(..., T - 2, J)``; divide by the frame time squared for metres per s^2."""
    _check_pair(generated, reference)
    if generated.shape[-3] < 3:
        raise ValueError(f"`generated` must hold 3 frames at least; got {generated.shape[-3]}.")
    result: Tensor = torch.linalg.vector_norm((generated - reference).diff(n=2, dim=-3), dim=-1)
    return result


def correct_share(generated: Tensor, reference: Tensor, *, threshold: float, order: float = 2) -> Tensor:
    """Share of points whose error is below a threshold: PCK.

    Args:
        generated: ``(..., D)``; a point is the last axis. DiffSHEG takes triples for BEAT (0.5, of normalised numbers)
            and single numbers, ``(..., 1)``, for SHOW.
        reference: The same shape.
        threshold: In the units of the input.
        order: Of the norm.

    Returns:
        A float64 scalar in [0, 1].
    """
    _check_pair(generated, reference, coordinates=generated.shape[-1])
    result: Tensor = (torch.linalg.vector_norm(generated - reference, ord=order, dim=-1) < threshold).double().mean()
    return result


def semantic_recall(
    generated: Tensor, reference: Tensor, semantic: Tensor | None = None, *, threshold: float = 0.1, order: float = 2
) -> Tensor:
    """SRGR: recall of joints, weighted by how meaningful the frame is.

    Args:
        generated: ``(T, J, 3)``.
        reference: The same shape.
        semantic: Score of each frame, ``(T)``; divided by 0.165, their mean in BEAT. Without, every frame counts 1.
        threshold: Joints with a smaller error are recalled.
        order: Of the error's norm: 1 in ``legacy`` and ``beat2022`` (there with threshold 4 on Euler degrees), 2 in
            ``evaltools``.

    Returns:
        A float64 scalar. A clip may exceed 1. Clips are weighted by their frames.

    Reference:
        Liu et al., "BEAT", ECCV 2022, section 5.
    """
    check_shape("generated", generated, "T J 3")
    _check_pair(generated, reference)
    recalled = torch.linalg.vector_norm(generated - reference, ord=order, dim=-1) < threshold
    recall: Tensor = recalled.double().mean(1)
    if semantic is not None:
        check_shape("semantic", semantic, f"{len(generated)}")
        weights = semantic * (1 / BEAT_MEAN_SEMANTIC_SCORE)  # in the precision of the scores, as published
        recall = recall * weights.double()
    return recall.mean()


def _check_pair(generated: Tensor, reference: Tensor, coordinates: int = 3) -> None:
    check_shape("generated", generated, f"... {coordinates}")
    if generated.shape != reference.shape:
        raise ValueError(
            f"`reference` must have the shape of `generated`, {tuple(generated.shape)}; got {tuple(reference.shape)}."
        )
