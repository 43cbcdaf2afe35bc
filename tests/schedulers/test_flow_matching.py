from __future__ import annotations

import diffusers
import pytest
import torch

from cospeech.schedulers import (
    Weights,
    flow_euler_steps,
    flow_interpolate,
    flow_mixture,
    flow_renoise_steps,
    flow_times,
    flow_velocity,
)


@pytest.mark.parametrize("sigma_min", [0.0, 1e-3])
def test_interpolation_runs_from_noise_to_clean(sigma_min):
    clean, noise = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    start = flow_interpolate(clean, noise, torch.zeros(3), sigma_min=sigma_min)
    end = flow_interpolate(clean, noise, torch.ones(3), sigma_min=sigma_min)
    torch.testing.assert_close(start, noise)
    torch.testing.assert_close(end, clean + sigma_min * noise)


def test_each_sample_has_its_own_time_and_the_velocity_joins_the_ends():
    clean, noise, time = *torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    noisy = flow_interpolate(clean, noise, time, sigma_min=0.01)
    torch.testing.assert_close(noisy, noise + time[:, None] * flow_velocity(clean, noise, sigma_min=0.01))
    for row, t in enumerate(time.tolist()):
        here = flow_mixture(t, sigma_min=0.01)
        torch.testing.assert_close(noisy[row], here.signal * clean[row] + here.sigma * noise[row])


@pytest.mark.parametrize("kind", ["clean", "velocity"])
@pytest.mark.parametrize("sigma_min", [0.0, 1e-3])
def test_true_prediction_ends_at_clean(kind, sigma_min):
    clean, noise = torch.randn(2, 6, 5, dtype=torch.float64)
    truth = {"clean": clean, "velocity": flow_velocity(clean, noise, sigma_min=sigma_min)}[kind]
    steps, noisy = flow_euler_steps(flow_times(7), prediction=kind, sigma_min=sigma_min), noise
    for time in steps.clock:
        noisy = steps.step(truth, time, noisy)
    torch.testing.assert_close(noisy, clean + sigma_min * noise, rtol=0, atol=1e-12)


def test_noise_prediction_from_any_time_but_0():
    clean, noise = torch.randn(2, 6, 5, dtype=torch.float64)
    steps = flow_euler_steps((0.2, 0.5, 1.0), prediction="noise")
    noisy = 0.2 * clean + 0.8 * noise
    for time in steps.clock:
        noisy = steps.step(noise, time, noisy)
    torch.testing.assert_close(noisy, clean, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="noise prediction at signal 0"):
        flow_euler_steps(flow_times(2), prediction="noise")


def test_velocity_steps_are_plain_euler():
    assert flow_euler_steps((0.0, 0.25, 1.0)).weights == (Weights(1.0, 0.25), Weights(1.0, 0.75))


def test_euler_equals_diffusers():
    """diffusers' sigma is one minus our time, and its velocity points the other way."""
    peer = diffusers.FlowMatchEulerDiscreteScheduler()
    times = torch.linspace(0, 1, 21, dtype=torch.float64).tolist()
    peer.set_timesteps(sigmas=[1 - time for time in times[:-1]])
    steps, ours = flow_euler_steps(times), torch.randn(4, 8)
    theirs, exact = ours, ours.double()
    for time, timestep in zip(steps.clock, peer.timesteps, strict=True):
        theirs = peer.step(-torch.tanh(theirs + time), timestep, theirs).prev_sample
        ours = steps.step(torch.tanh(ours + time), time, ours)
        exact = steps.step(torch.tanh(exact + time), time, exact)
    torch.testing.assert_close(ours, exact.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_renoise_ends_at_the_prediction_itself():
    steps = flow_renoise_steps(flow_times(10))
    noise, prediction = torch.randn(2, 3, 4)
    assert [steps.takes_noise(time) for time in steps.clock] == [True] * 9 + [False]
    assert torch.equal(steps.step(prediction, steps.clock[-1], noise), prediction)
    torch.testing.assert_close(steps.step(prediction, 0.3, torch.zeros(3, 4), noise), 0.6 * noise + 0.4 * prediction)


def test_renoise_with_the_true_noise_stays_on_the_line():
    steps = flow_renoise_steps(flow_times(4))
    clean, noise = torch.randn(2, 5, dtype=torch.float64)
    expected = flow_interpolate(clean[None], noise[None], torch.tensor([0.75]))[0]
    torch.testing.assert_close(steps.step(clean, 0.5, torch.zeros(5, dtype=torch.float64), noise), expected)


@pytest.mark.parametrize("make", [flow_euler_steps, flow_renoise_steps])
@pytest.mark.parametrize("times", [(), (0.0,), (0.0, 0.5, 0.5), (1.0, 0.0)])
def test_times_must_rise(make, times):
    with pytest.raises(ValueError, match="`times` must rise and hold at least two"):
        make(times)


def test_no_steps():
    with pytest.raises(ValueError, match="`num_steps` must be at least 1; got 0"):
        flow_times(0)
