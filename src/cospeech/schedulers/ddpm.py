"""Ancestral sampling: each step draws the next cleaner sample from its posterior."""

from __future__ import annotations

import math

from cospeech.schedulers.noise_schedule import NoiseSchedule
from cospeech.schedulers.prediction import Prediction, Weights
from cospeech.schedulers.steps import StepTable

__all__ = ["ddpm_steps"]


def ddpm_steps(schedule: NoiseSchedule, *, prediction: Prediction = "noise", temperature: float = 1.0) -> StepTable:
    """Steps of the ancestral sampler with the posterior's own (small, fixed) variance.

    Args:
        schedule: The process, respaced where fewer steps are wanted.
        prediction: What the network predicts.
        temperature: Factor on the noise of every step; 1 draws from the posterior.

    Returns:
        Steps of which all but the last take fresh noise.

    Reference:
        Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, equations 7 and 11, algorithm 2.

    Example:
        >>> from cospeech.schedulers import linear_betas
        >>> steps = ddpm_steps(NoiseSchedule(linear_betas(4)))
        >>> [(timestep, steps.takes_noise(timestep)) for timestep in steps.clock]
        [(3, True), (2, True), (1, True), (0, False)]
    """
    weights = []
    for timestep, (of_clean, of_noisy) in zip(schedule.timesteps, schedule.posterior_mean_weights, strict=True):
        clean = schedule.mixture(timestep).weights(prediction, "clean")
        weights.append(Weights(of_noisy + of_clean * clean.noisy, of_clean * clean.prediction))
    return StepTable(
        clock=schedule.timesteps[::-1],
        weights=tuple(weights[::-1]),
        noise_weights=tuple(temperature * math.sqrt(variance) for variance in schedule.posterior_variances[::-1]),
    )
