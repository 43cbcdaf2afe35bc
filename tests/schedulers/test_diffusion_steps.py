"""DDPM and DDIM: laws, float64 twins, and the numbers of diffusers."""

from __future__ import annotations

import diffusers
import pytest
import torch

from cospeech.schedulers import (
    NoiseSchedule,
    ddim_steps,
    ddpm_steps,
    leading_spacing,
    linear_betas,
    trailing_spacing,
)

FULL = NoiseSchedule(linear_betas(1000))
DIFFUSERS_NAMES = {"noise": "epsilon", "clean": "sample", "velocity": "v_prediction"}


def network(noisy: torch.Tensor, timestep: int) -> torch.Tensor:
    """Some smooth function."""
    return torch.tanh(noisy * 0.7 + timestep / 1000)


def walk(steps, noisy, noises):
    for timestep, noise in zip(steps.clock, noises, strict=True):
        noisy = steps.step(network(noisy, timestep), timestep, noisy, noise)
    return noisy


@pytest.mark.parametrize("kind", ["noise", "clean", "velocity"])
@pytest.mark.parametrize("timestep", [0, 40, 960])
def test_true_prediction_leads_ddim_along_the_true_mixture(kind, timestep):
    schedule = FULL.respace(leading_spacing(1000, 25))
    steps, here = ddim_steps(schedule, prediction=kind), schedule.mixture(timestep)
    clean, noise = torch.randn(2, 6, 9, dtype=torch.float64)
    noisy = here.signal * clean + here.sigma * noise
    truth = {"noise": noise, "clean": clean, "velocity": here.signal * noise - here.sigma * clean}[kind]
    expected = clean
    if timestep:
        there = schedule.mixture(timestep - 40)
        expected = there.signal * clean + there.sigma * noise
    torch.testing.assert_close(steps.step(truth, timestep, noisy), expected, rtol=0, atol=1e-12)


def test_true_noise_at_every_step_recovers_the_clean_sample():
    schedule = FULL.respace(leading_spacing(1000, 25))
    steps = ddim_steps(schedule)
    clean, noise = torch.randn(2, 6, 9, dtype=torch.float64)
    start = schedule.mixture(steps.clock[0])
    noisy = start.signal * clean + start.sigma * noise
    for timestep in steps.clock:
        noisy = steps.step(noise, timestep, noisy)
    torch.testing.assert_close(noisy, clean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["noise", "clean", "velocity"])
def test_eta_1_is_the_ancestral_sampler(kind):
    schedule = FULL.respace(leading_spacing(1000, 20))
    ddim, ddpm = ddim_steps(schedule, prediction=kind, eta=1.0), ddpm_steps(schedule, prediction=kind)
    assert ddim.noise_weights == pytest.approx(ddpm.noise_weights, abs=1e-12)
    for ours, theirs in zip(ddim.weights, ddpm.weights, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["noise", "clean", "velocity"])
@pytest.mark.parametrize(("rule", "name"), [(leading_spacing, "leading"), (trailing_spacing, "trailing")])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim_equals_diffusers(kind, rule, name, eta):
    peer = diffusers.DDIMScheduler(
        1000, prediction_type=DIFFUSERS_NAMES[kind], timestep_spacing=name, clip_sample=False, set_alpha_to_one=True
    )
    peer.set_timesteps(50)
    steps = ddim_steps(FULL.respace(rule(1000, 50)), prediction=kind, eta=eta)
    assert list(steps.clock) == peer.timesteps.tolist()
    start, noises = torch.randn(4, 8), torch.randn(50, 4, 8)
    theirs = start
    for timestep, noise in zip(steps.clock, noises, strict=True):
        theirs = peer.step(network(theirs, timestep), timestep, theirs, eta=eta, variance_noise=noise).prev_sample
    ours = walk(steps, start, noises)
    # Their tables are float32: hold both against the walk in float64.
    exact = walk(steps, start.double(), noises.double()).float()
    size = exact.abs().max().item()
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-5 * size)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-4 * size)


@pytest.mark.parametrize("kind", ["noise", "clean", "velocity"])
def test_ddpm_equals_diffusers(kind, monkeypatch):
    peer = diffusers.DDPMScheduler(
        1000, prediction_type=DIFFUSERS_NAMES[kind], timestep_spacing="leading", clip_sample=False
    )
    peer.set_timesteps(50)
    steps = ddpm_steps(FULL.respace(leading_spacing(1000, 50)), prediction=kind)
    start, noises = torch.randn(4, 8), torch.randn(50, 4, 8)
    queue = iter(noises)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(queue))
    theirs = start
    for timestep in steps.clock:
        theirs = peer.step(network(theirs, timestep), timestep, theirs).prev_sample
    ours = walk(steps, start, noises)
    exact = walk(steps, start.double(), noises.double()).float()
    size = exact.abs().max().item()
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-5 * size)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-4 * size)


def test_temperature_scales_the_step_noise_only():
    cold, warm = ddpm_steps(FULL, temperature=0.5), ddpm_steps(FULL)
    assert cold.weights == warm.weights
    assert cold.noise_weights == pytest.approx([weight / 2 for weight in warm.noise_weights])


def test_only_steps_that_use_noise_take_it():
    schedule = FULL.respace((0, 500))
    assert [ddpm_steps(schedule).takes_noise(timestep) for timestep in (500, 0)] == [True, False]
    assert [ddim_steps(schedule).takes_noise(timestep) for timestep in (500, 0)] == [False, False]
    assert [ddim_steps(schedule, eta=1.0).takes_noise(timestep) for timestep in (500, 0)] == [True, False]


def test_missing_noise_and_unknown_timestep():
    steps, x = ddpm_steps(FULL.respace((0, 500))), torch.zeros(2)
    with pytest.raises(ValueError, match="The step from 500 takes noise; pass `noise`"):
        steps.step(x, 500, x)
    with pytest.raises(ValueError, match="There is no step from 499; the clock reads 500, 0"):
        steps.step(x, 499, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dtype_follows_the_sample(dtype):
    x = torch.randn(3, dtype=dtype)
    assert ddim_steps(FULL).step(x, 500, x).dtype == dtype
    assert ddpm_steps(FULL).step(x, 500, x, x).dtype == dtype


def test_steps_in_place_are_the_same_steps():
    steps = ddpm_steps(FULL.respace(leading_spacing(1000, 10)))
    noisy, noises = torch.randn(4, 8), torch.randn(10, 4, 8)
    expected = walk(steps, noisy, noises)
    for timestep, noise in zip(steps.clock, noises, strict=True):
        assert steps.step(network(noisy, timestep), timestep, noisy, noise, out=noisy) is noisy
    assert torch.equal(noisy, expected)
