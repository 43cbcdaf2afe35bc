from __future__ import annotations

import dataclasses

import diffusers
import pytest
import torch

from cospeech.schedulers import NoiseSchedule, cosine_betas, leading_spacing, linear_betas

FULL = NoiseSchedule(linear_betas(100))


def test_signal_falls_and_variances_add_up():
    abar = torch.tensor(FULL.alphas_cumprod, dtype=torch.float64)
    assert (abar.diff() < 0).all()
    for timestep in FULL.timesteps:
        mixture = FULL.mixture(timestep)
        assert mixture.signal**2 + mixture.sigma**2 == pytest.approx(1, abs=1e-15)


def test_respacing_keeps_what_is_left_and_its_number():
    few = FULL.respace((3, 40, 99))
    assert few.timesteps == (3, 40, 99)
    for timestep in few.timesteps:
        assert few.mixture(timestep).signal == pytest.approx(FULL.mixture(timestep).signal, rel=1e-14)
    assert few.respace((40,)).timesteps == (40,)


def test_respacing_to_all_is_the_same_process():
    assert FULL.respace(FULL.timesteps).betas == pytest.approx(FULL.betas, rel=1e-9)


def test_posterior_by_bayes():
    """The posterior of two Gaussians, by precision: the slow twin of the closed form."""
    schedule = FULL.respace(leading_spacing(100, 10))
    for level in range(1, 10):
        beta, before = schedule.betas[level], schedule.alphas_cumprod[level - 1]
        prior, likelihood = 1 / (1 - before), (1 - beta) / beta
        variance = 1 / (prior + likelihood)
        assert schedule.posterior_variances[level] == pytest.approx(variance, rel=1e-10)
        of_clean, of_noisy = schedule.posterior_mean_weights[level]
        assert of_clean == pytest.approx(variance * prior * before**0.5, rel=1e-10)
        assert of_noisy == pytest.approx(variance / beta * (1 - beta) ** 0.5, rel=1e-10)
    assert schedule.posterior_variances[0] == 0
    assert schedule.posterior_mean_weights[0] == pytest.approx((1, 0))


def test_add_noise_equals_diffusers():
    clean, noise, timesteps = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.tensor([0, 50, 99])
    theirs = diffusers.DDPMScheduler(100).add_noise(clean, noise, timesteps)
    torch.testing.assert_close(FULL.add_noise(clean, noise, timesteps), theirs, rtol=1e-5, atol=1e-5)


def test_add_noise_goes_by_the_timesteps_own_numbers():
    few, clean, noise = FULL.respace((3, 40)), torch.randn(2, 6), torch.randn(2, 6)
    timesteps = torch.tensor([40, 3])
    torch.testing.assert_close(few.add_noise(clean, noise, timesteps), FULL.add_noise(clean, noise, timesteps))


def test_is_a_value():
    assert NoiseSchedule(cosine_betas(5)) == NoiseSchedule(cosine_betas(5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.betas = ()


@pytest.mark.parametrize("betas", [(), (0.0, 0.1), (0.5, 1.0)])
def test_variances_out_of_range(betas):
    with pytest.raises(ValueError, match="each between 0 and 1"):
        NoiseSchedule(betas)


@pytest.mark.parametrize("timesteps", [(0,), (1, 0), (3, 3)])
def test_timesteps_that_do_not_fit(timesteps):
    with pytest.raises(ValueError, match="must ascend, one for each of the 2 betas"):
        NoiseSchedule((0.1, 0.2), timesteps)


def test_no_such_timestep():
    with pytest.raises(ValueError, match="There is no timestep 100; the process has 100 from 0 to 99"):
        FULL.mixture(100)
