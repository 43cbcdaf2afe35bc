from __future__ import annotations

import math

import pytest
import torch

from cospeech.samplers import denoise, denoise_midpoint, draw_noise
from cospeech.schedulers import (
    NoiseSchedule,
    StepTable,
    Weights,
    ddpm_steps,
    flow_euler_steps,
    flow_renoise_steps,
    flow_times,
    flow_velocity,
    linear_betas,
)


def decay(noisy, time):
    """The velocity of exp(-t) shrinking, whose exact end is known."""
    return -noisy


def test_slow_twin():
    steps = ddpm_steps(NoiseSchedule(linear_betas(6)))
    start, noises = torch.randn(2, 3), torch.randn(5, 2, 3)
    draws = iter(noises)
    result = denoise(lambda x, t: torch.tanh(x + t), start, steps, draw=draws.__next__)
    expected = start
    for i, timestep in enumerate((5, 4, 3, 2, 1, 0)):
        expected = steps.step(torch.tanh(expected + timestep), timestep, expected, noises[i] if i < 5 else None)
    assert torch.equal(result, expected)


def test_no_noise_is_drawn_that_is_not_used():
    drawn = []
    steps = ddpm_steps(NoiseSchedule(linear_betas(6)))
    denoise(lambda x, t: x, torch.zeros(1, 2), steps, draw=lambda: drawn.append(1) or torch.zeros(1, 2))
    assert len(drawn) == 5
    denoise(lambda x, t: x, torch.zeros(1, 2), flow_euler_steps(flow_times(3)), draw=drawn.clear)
    assert len(drawn) == 5


def test_missing_noise():
    with pytest.raises(ValueError, match="takes noise; pass `noise`"):
        denoise(lambda x, t: x, torch.zeros(1, 2), flow_renoise_steps(flow_times(2)))


def test_callback_sees_every_step():
    seen = []
    result = denoise(lambda x, t: x + t, torch.ones(1, 2), flow_euler_steps(flow_times(3)), callback=seen.append)
    assert [step.step_index for step in seen] == [0, 1, 2]
    assert [step.timestep for step in seen] == pytest.approx([0, 1 / 3, 2 / 3])
    assert torch.equal(seen[-1].noisy, result)
    assert torch.equal(seen[0].prediction, torch.ones(1, 2))


def test_the_start_is_left_as_it_was():
    start = torch.randn(2, 3)
    before = start.clone()
    denoise(lambda x, t: x, start, flow_euler_steps(flow_times(3)))
    denoise_midpoint(lambda x, t: x, start, flow_times(3))
    assert torch.equal(start, before)


def test_gradients_flow_through_the_walk():
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, dtype=torch.float64)
    steps = flow_euler_steps(flow_times(4), prediction="clean")
    assert torch.autograd.gradcheck(lambda w: denoise(lambda x, t: w * x.sin(), start, steps), (weight,))


@pytest.mark.parametrize(
    ("solve", "order"),
    [
        (lambda n: denoise(decay, torch.ones(1, dtype=torch.float64), flow_euler_steps(flow_times(n))), 1),
        (lambda n: denoise_midpoint(decay, torch.ones(1, dtype=torch.float64), flow_times(n)), 2),
    ],
    ids=["euler", "midpoint"],
)
def test_error_falls_with_the_order(solve, order):
    errors = [abs(solve(n).item() - math.exp(-1)) for n in (20, 40)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("kind", ["clean", "velocity"])
def test_midpoint_with_the_truth_ends_at_clean(kind):
    clean, noise = torch.randn(2, 3, 4, dtype=torch.float64)
    truth = {"clean": clean, "velocity": flow_velocity(clean, noise, sigma_min=1e-3)}[kind]
    result = denoise_midpoint(lambda x, t: truth, noise, flow_times(5), prediction=kind, sigma_min=1e-3)
    torch.testing.assert_close(result, clean + 1e-3 * noise, rtol=0, atol=1e-12)


def test_each_clip_draws_its_own_noise():
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    state = torch.get_rng_state()
    together = draw_noise((3, 4, 5), generators(1, 2, 3))
    alone = draw_noise((1, 4, 5), generators(2))
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is untouched
    assert draw_noise((1, 2), generators(0), dtype=torch.float64).dtype == torch.float64
    with pytest.raises(ValueError, match="one per clip; got 1 for 2 clips"):
        draw_noise((2, 3), generators(0))


def test_a_table_of_ones_own():
    steps = StepTable((3,), (Weights(0.0, 1.0),), (0.0,))
    x = torch.randn(2)
    assert torch.equal(denoise(lambda noisy, t: x, torch.zeros(2), steps), x)
