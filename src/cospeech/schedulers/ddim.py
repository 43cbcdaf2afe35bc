"""Implicit sampling: each step goes to the mixture of the same clean sample and noise at the next timestep."""

from __future__ import annotations

import math

from cospeech.schedulers.noise_schedule import NoiseSchedule
from cospeech.schedulers.prediction import Prediction
from cospeech.schedulers.steps import StepTable

__all__ = ["ddim_steps"]


def ddim_steps(schedule: NoiseSchedule, *, prediction: Prediction = "noise", eta: float = 0.0) -> StepTable:
    """Steps of the implicit sampler.

    Args:
        schedule: The process, respaced to the steps wanted.
        prediction: What the network predicts.
        eta: Share of fresh noise: 0 takes none and is deterministic, 1 takes as much as the ancestral sampler.

    Reference:
        Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, equations 12 and 16.

    Example:
        >>> from cospeech.schedulers import linear_betas, strided_spacing
        >>> steps = ddim_steps(NoiseSchedule(linear_betas(1000)).respace(strided_spacing(1000, 5)))
        >>> steps.clock
        (800, 600, 400, 200, 0)
    """
    weights, noise_weights = [], []
    levels = zip(schedule.timesteps, schedule.alphas_cumprod, schedule.previous_alphas_cumprod, strict=True)
    for timestep, here, cleaner in levels:
        fresh = eta * math.sqrt((1 - cleaner) / (1 - here) * (1 - here / cleaner))
        kept = math.sqrt(max(0.0, 1 - cleaner - fresh**2))
        weights.append(schedule.mixture(timestep).weights_of(prediction, math.sqrt(cleaner), kept))
        noise_weights.append(fresh)
    return StepTable(schedule.timesteps[::-1], tuple(weights[::-1]), tuple(noise_weights[::-1]))
