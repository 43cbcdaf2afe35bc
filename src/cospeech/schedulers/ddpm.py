"""Ancestral sampling: each step draws the next cleaner sample from its posterior."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from cospeech.schedulers.noise_schedule import NoiseSchedule
from cospeech.schedulers.prediction import Prediction, Weights
from cospeech.schedulers.steps import StepTable

__all__ = ["Variance", "ddpm_steps", "learned_deviation"]

Variance = Literal["small", "large"]


def ddpm_steps(
    schedule: NoiseSchedule,
    *,
    prediction: Prediction = "noise",
    temperature: float = 1.0,
    variance: Variance = "small",
) -> StepTable:
    """Steps of the ancestral sampler with a fixed variance.

    Args:
        schedule: The process, respaced where fewer steps are wanted.
        prediction: What the network predicts.
        temperature: Factor on the noise of every step; 1 draws from the posterior.
        variance: "small" is the posterior's own, right where the clean samples are one point; "large" is the level's
            beta, right where they are normal. A learned one lies between, see ``learned_deviation``.

    Returns:
        Steps of which all but the last take fresh noise.

    Raises:
        ValueError: If the variance is unknown.

    Reference:
        Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, equations 7 and 11, algorithm 2.

    Example:
        >>> from cospeech.schedulers import linear_betas
        >>> steps = ddpm_steps(NoiseSchedule(linear_betas(4)))
        >>> [(timestep, steps.takes_noise(timestep)) for timestep in steps.clock]
        [(3, True), (2, True), (1, True), (0, False)]
    """
    if variance not in ("small", "large"):
        raise ValueError(f"Unknown variance {variance!r}; choose from small, large.")
    variances = schedule.posterior_variances
    if variance == "large":
        variances = (0.0, *schedule.betas[1:])  # the last step goes to the mean either way
    weights = []
    for timestep, (of_clean, of_noisy) in zip(schedule.timesteps, schedule.posterior_mean_weights, strict=True):
        clean = schedule.mixture(timestep).weights(prediction, "clean")
        weights.append(Weights(of_noisy + of_clean * clean.noisy, of_clean * clean.prediction))
    return StepTable(
        clock=schedule.timesteps[::-1],
        weights=tuple(weights[::-1]),
        noise_weights=tuple(temperature * math.sqrt(value) for value in variances[::-1]),
    )


def learned_deviation(schedule: NoiseSchedule, timestep: int, fraction: Tensor) -> Tensor:
    """The standard deviation of a step by a network that also predicts where it lies between its two bounds.

    The step itself is one of ``ddpm_steps`` with ``temperature=0``, plus noise times this.

    Args:
        schedule: The process, respaced where fewer steps are wanted.
        timestep: Where the step starts.
        fraction: What the network says in its second half of channels, from -1 for "small" to 1 for "large".

    Reference:
        Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021, equation 15.
    """
    level = schedule.level(timestep)
    # At level 0 the posterior's variance is 0; the next one stands in for it, as published, so that a logarithm exists.
    small = math.log(schedule.posterior_variances[max(level, min(1, len(schedule.betas) - 1))] or 1e-20)
    large = math.log(schedule.betas[level])
    deviation: Tensor = (0.5 * (small + (large - small) * (fraction + 1) / 2)).exp()
    return deviation
