"""Errors of faces and of what moves with them, and the three formulas that go by the name of LVD.

Vertices are SMPL-X's whole mesh in the published protocols, in metres: with the betas of the reference, expression and
jaw of the clip, everything else zero. Most of it never moves, so the averages are small.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = [
    "expression_error",
    "expression_lvd",
    "expression_mse",
    "position_lvd",
    "speed_lvd",
    "velocity_lvd",
    "vertex_mse",
]


def vertex_mse(generated: Tensor, reference: Tensor) -> Tensor:
    """Mean of the squared difference of all coordinates, float64, of clips ``(T, V, 3)``."""
    _check_pair(generated, reference, frames=1)
    return (generated.double() - reference.double()).square().mean()


def velocity_lvd(generated: Tensor, reference: Tensor, *, divide_by_frames: bool = False) -> Tensor:
    """Mean absolute difference of the steps from frame to frame: what LVD should be.

    Args:
        generated: ``(T, V, 3)``.
        reference: ``(T, V, 3)``.
        divide_by_frames: Divide the sum by ``T``, as EMAGE's ``evaltools`` do, although it has ``T - 1`` terms.

    Returns:
        A float64 scalar, in units per frame.
    """
    _check_pair(generated, reference, frames=2)
    steps = (generated.double().diff(dim=0) - reference.double().diff(dim=0)).abs()
    return steps.mean() * ((len(generated) - 1) / len(generated) if divide_by_frames else 1.0)


def position_lvd(generated: Tensor, reference: Tensor) -> Tensor:
    """``mean |p[t + 1] - g[t + 1]|``: the published tables' LVD, which is no velocity difference.

    The program means ``|(p[t+1] - p[t]) - (g[t+1] - g[t])|`` and takes ``g[t]`` for ``p[t]``; its author confirms it.

    Args:
        generated: ``(T, V, 3)``.
        reference: ``(T, V, 3)``.

    Returns:
        A float64 scalar, in units of the input.
    """
    _check_pair(generated, reference, frames=2)
    return (generated[1:].double() - reference[1:].double()).abs().mean()


def speed_lvd(generated: Tensor, reference: Tensor) -> Tensor:
    """Difference of speeds, ``| |v_p| - |v_g| |`` in units per frame, summed over points, mean over frames: TalkSHOW's.

    Args:
        generated: ``(..., T, J, 3)``.
        reference: ``(T, J, 3)`` or as ``generated``.

    Returns:
        ``(...)``.
    """
    check_shape("generated", generated, "... T J 3")
    check_shape("reference", reference, "... T J 3")
    speed, other = (torch.linalg.vector_norm(x.double().diff(dim=-3), dim=-1) for x in (generated, reference))
    result: Tensor = (speed - other).abs().sum(-1).mean(-1)
    return result


def expression_error(generated: Tensor, reference: Tensor) -> Tensor:
    """Squared L2 distance of expression coefficients ``(T, E)``, mean over frames, float64: GlobalDiff's."""
    return expression_mse(generated, reference) * generated.shape[1]


def expression_mse(generated: Tensor, reference: Tensor) -> Tensor:
    """Mean squared difference of expression coefficients ``(T, E)``, float64: ``vertex_mse`` without a body model."""
    check_shape("generated", generated, "T E")
    check_shape("reference", reference, f"{len(generated)} {generated.shape[1]}")
    return (generated.double() - reference.double()).square().mean()


def expression_lvd(generated: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of the steps of expression coefficients ``(T, E)`` from frame to frame, float64."""
    check_shape("generated", generated, "T E")
    check_shape("reference", reference, f"{len(generated)} {generated.shape[1]}")
    if len(generated) < 2:
        raise ValueError(f"`generated` must hold 2 frames at least; got {len(generated)}.")
    return (generated.double() - reference.double()).diff(dim=0).abs().mean()


def _check_pair(generated: Tensor, reference: Tensor, frames: int) -> None:
    check_shape("generated", generated, "T V 3")
    check_shape("reference", reference, f"T {generated.shape[1]} 3")
    if len(generated) != len(reference) or len(generated) < frames:
        raise ValueError(
            f"Both clips must hold the same {frames} or more frames; got {len(generated)} and {len(reference)}."
        )
