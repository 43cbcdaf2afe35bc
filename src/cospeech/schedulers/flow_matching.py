"""Flow matching along straight lines: from noise at time 0 to a clean sample at time 1.

``noisy = time * clean + (1 - (1 - sigma_min) * time) * noise``; its velocity, ``clean - (1 - sigma_min) * noise``,
does not change along the way.

Reference:
    Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023, section 4.1 (optimal transport paths).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cospeech.schedulers.prediction import Mixture, Prediction, Weights
from cospeech.schedulers.steps import StepTable

__all__ = [
    "flow_euler_steps",
    "flow_interpolate",
    "flow_mixture",
    "flow_renoise_steps",
    "flow_times",
    "flow_velocity",
]


def flow_times(num_steps: int) -> tuple[float, ...]:
    """Times 0, 1/n, ..., 1: the ends of ``num_steps`` equal steps.

    Example:
        >>> flow_times(4)
        (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1; got {num_steps}.")
    return tuple(i / num_steps for i in range(num_steps + 1))


def flow_interpolate(clean: Tensor, noise: Tensor, time: Tensor, *, sigma_min: float = 0.0) -> Tensor:
    """Noisy samples, each at its own time, as in training.

    Args:
        clean: ``(B, ...)``.
        noise: Standard normal, same shape.
        time: From 0 (noise) to 1 (clean), ``(B,)``.
        sigma_min: Noise left at time 1.
    """
    time = time.to(clean).view(-1, *[1] * (clean.ndim - 1))
    return noise * (1 - (1 - sigma_min) * time) + clean * time


def flow_velocity(clean: Tensor, noise: Tensor, *, sigma_min: float = 0.0) -> Tensor:
    """The velocity of the straight line, which a network learns to predict: same shape as ``clean``."""
    return torch.sub(clean, noise, alpha=1 - sigma_min)


def flow_mixture(time: float, *, sigma_min: float = 0.0) -> Mixture:
    """Shares of clean sample and noise in the noisy sample at a time, and in its velocity."""
    return Mixture(signal=time, sigma=1 - (1 - sigma_min) * time, signal_rate=1.0, sigma_rate=sigma_min - 1)


def flow_euler_steps(
    times: Sequence[float], *, prediction: Prediction = "velocity", sigma_min: float = 0.0
) -> StepTable:
    """Steps along the predicted velocity.

    Args:
        times: Rising: where each step starts, and last where the walk ends; see ``flow_times``.
        prediction: What the network predicts. A clean or noise prediction implies the velocity.
        sigma_min: Noise left at time 1.

    Raises:
        ValueError: If the times do not rise, or the prediction implies no velocity at one of them, as the noise at 0.

    Example:
        >>> steps = flow_euler_steps(flow_times(2))
        >>> steps.step(torch.tensor(3.0), 0.5, torch.tensor(1.0))
        tensor(2.5000)
    """
    weights = []
    for here, there in _pairs(times):
        velocity = flow_mixture(here, sigma_min=sigma_min).weights(prediction, "velocity")
        weights.append(Weights(1 + (there - here) * velocity.noisy, (there - here) * velocity.prediction))
    return StepTable(tuple(times[:-1]), tuple(weights), (0.0,) * len(weights))


def flow_renoise_steps(times: Sequence[float]) -> StepTable:
    """Steps that mix the predicted clean sample with given noise: ``(1 - there) * noise + there * clean``.

    With the noise that the walk started from this is how GlobalDiff samples: no velocity is formed, and the noisy
    sample counts only through the prediction. With fresh noise at each step it is how consistency models sample.

    Args:
        times: Rising: where each step starts, and last where the walk ends; see ``flow_times``.

    Returns:
        Steps for clean predictions, all of which take noise but one that ends at 1.

    Raises:
        ValueError: If the times do not rise.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 (the program); Song et al., "Consistency Models", ICML 2023, algorithm 1.
    """
    there = [end for _, end in _pairs(times)]
    return StepTable(tuple(times[:-1]), tuple(Weights(0.0, time) for time in there), tuple(1 - time for time in there))


def _pairs(times: Sequence[float]) -> list[tuple[float, float]]:
    pairs = list(pairwise(times))
    if not pairs or any(here >= there for here, there in pairs):
        raise ValueError(f"`times` must rise and hold at least two; got {tuple(times)}.")
    return pairs
