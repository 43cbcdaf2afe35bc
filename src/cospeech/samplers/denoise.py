"""The loop from noise to clean: ask the network, take the step, again.

A network is here any callable from the noisy sample and the clock's reading to a prediction; what else it needs
(speech, speaker, seed frames, guidance) is bound to it beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.schedulers import Prediction, StepTable, convert_prediction, flow_euler_steps, flow_mixture

__all__ = ["DenoiseStep", "Predict", "denoise", "denoise_midpoint", "draw_noise"]

Predict = Callable[[Tensor, float], Tensor]
"""From noisy sample ``(B, ...)`` and timestep or time to a prediction of the same shape."""


class DenoiseStep(NamedTuple):
    """What a callback is shown after each step.

    Attributes:
        step_index: Counts the steps from 0.
        timestep: What the network was told.
        prediction: What it said.
        noisy: The sample after the step.
    """

    step_index: int
    timestep: float
    prediction: Tensor
    noisy: Tensor


def denoise(
    predict: Predict,
    noisy: Tensor,
    steps: StepTable,
    *,
    draw: Callable[[], Tensor] | None = None,
    callback: Callable[[DenoiseStep], object] | None = None,
) -> Tensor:
    """Walk a sample through all steps.

    Args:
        predict: The network.
        noisy: Where the walk starts, usually standard normal, ``(B, ...)``.
        steps: The sampler's steps.
        draw: Makes the noise for a step that takes some, shaped as the sample; not called for the others.
        callback: Called after each step.

    Returns:
        The sample after the last step, same shape.

    Raises:
        ValueError: If a step takes noise and ``draw`` is not given.

    Example:
        >>> from cospeech.schedulers import flow_euler_steps, flow_times
        >>> target = torch.ones(1, 4)
        >>> noise = torch.randn(1, 4)
        >>> clean = denoise(lambda noisy, time: target - noise, noise, flow_euler_steps(flow_times(3)))
        >>> torch.allclose(clean, target, atol=1e-6)
        True
    """
    for step_index, timestep in enumerate(steps.clock):
        prediction = predict(noisy, timestep)
        noise = draw() if draw is not None and steps.takes_noise(timestep) else None
        noisy = steps.step(prediction, timestep, noisy, noise)
        if callback is not None:
            callback(DenoiseStep(step_index, timestep, prediction, noisy))
    return noisy


def denoise_midpoint(
    predict: Predict,
    noisy: Tensor,
    times: Sequence[float],
    *,
    prediction: Prediction = "velocity",
    sigma_min: float = 0.0,
) -> Tensor:
    """Walk a flow by the midpoint rule: two calls per step, error falling with the square of the step.

    Args:
        predict: The network; called at the start and in the middle of each step.
        noisy: Noise at the first time, ``(B, ...)``.
        times: Rising; see ``flow_times``.
        prediction: What the network predicts.
        sigma_min: Noise left at time 1.

    Returns:
        The sample at the last time, same shape.
    """
    for here, there in pairwise(times):
        middle = (here + there) / 2
        half_step = flow_euler_steps((here, middle), prediction=prediction, sigma_min=sigma_min)
        half = half_step.step(predict(noisy, here), here, noisy)
        velocity = convert_prediction(
            predict(half, middle), half, flow_mixture(middle, sigma_min=sigma_min), source=prediction, target="velocity"
        )
        noisy = torch.add(noisy, velocity, alpha=there - here)
    return noisy


def draw_noise(
    shape: Sequence[int],
    generators: Sequence[torch.Generator],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal noise of which each clip draws its own, so that a clip does not depend on its batch.

    Args:
        shape: ``(B, ...)``.
        generators: One per clip. Generators on the CPU give the same noise whatever ``device`` is.
        dtype: Of the result; default float32. Numbers are drawn in float32 and then cast.
        device: Where the result goes; default the CPU.

    Raises:
        ValueError: If there is not one generator per clip.

    Example:
        >>> seeds = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
        >>> both = draw_noise((2, 3), seeds)
        >>> torch.equal(draw_noise((1, 3), [torch.Generator().manual_seed(8)])[0], both[1])
        True
    """
    if len(generators) != shape[0]:
        raise ValueError(f"`generators` must be one per clip; got {len(generators)} for {shape[0]} clips.")
    rows = [torch.randn(*shape[1:], generator=generator, device=generator.device) for generator in generators]
    return torch.stack([row.to(device=device or "cpu", dtype=dtype) for row in rows])
