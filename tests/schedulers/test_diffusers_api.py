"""Ours against diffusers' own, on common ground."""

from __future__ import annotations

import diffusers
import pytest
import torch

from cospeech.schedulers import DDIMScheduler, DDPMScheduler

COMMON = {"clip_sample": False}
SETTINGS = [
    {},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1},
    {"prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    {"prediction_type": "sample"},
]


def network(sample, timestep, channels=1):
    return torch.tanh(torch.cat([sample, 0.3 * sample][:channels], dim=1) * 0.7 + float(timestep) / 1000)


def loop(scheduler, sample, noise_name, noises, *, channels=1, **arguments):
    """A loop as users of diffusers write it; returns all samples and the clean estimates."""
    samples = []
    for i, timestep in enumerate(scheduler.timesteps):
        output = network(scheduler.scale_model_input(sample, timestep), timestep, channels)
        given = {} if noise_name is None else {noise_name: noises[i]}
        step = scheduler.step(output, timestep, sample, **given, **arguments)
        sample = step.prev_sample
        samples += [sample, step.pred_original_sample]
    return torch.stack(samples)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim(settings, eta):
    ours = DDIMScheduler(**settings)
    theirs = diffusers.DDIMScheduler(**settings, **COMMON)
    noises, sample = torch.randn(10, 2, 3, 4), torch.randn(2, 3, 4)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    name = "variance_noise" if eta else None
    expected = loop(theirs, sample, name, noises, eta=eta)
    torch.testing.assert_close(loop(ours, sample, name, noises, eta=eta), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("settings", [*SETTINGS, {"variance_type": "fixed_large"}, {"variance_type": "learned_range"}])
def test_ddpm(settings, monkeypatch):
    ours, theirs = DDPMScheduler(**settings), diffusers.DDPMScheduler(**settings, **COMMON)
    noises, sample = torch.randn(10, 2, 3, 4), torch.randn(2, 3, 4)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    channels = 2 if settings.get("variance_type") == "learned_range" else 1
    drawn = iter(noises)  # theirs draws for itself; hand it ours
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: next(drawn))
    expected = loop(theirs, sample, None, noises, channels=channels)
    actual = loop(ours, sample, "variance_noise", noises, channels=channels)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_add_noise_and_tables():
    ours, theirs = DDPMScheduler(), diffusers.DDPMScheduler()
    clean, noise, timesteps = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([0, 500, 999])
    expected = theirs.add_noise(clean, noise, timesteps)
    torch.testing.assert_close(ours.add_noise(clean, noise, timesteps), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    assert (len(ours), ours.order, ours.init_noise_sigma) == (len(theirs), theirs.order, theirs.init_noise_sigma)


def test_config_goes_round_and_comes_from_diffusers():
    theirs = diffusers.DDIMScheduler(num_train_timesteps=50, prediction_type="v_prediction")
    ours = DDIMScheduler.from_config(theirs.config)
    assert (ours.config.num_train_timesteps, ours.config["prediction_type"]) == (50, "v_prediction")
    assert DDPMScheduler.from_config(ours.config, beta_end=0.03).config.beta_end == 0.03
    assert diffusers.DDIMScheduler(**{name: ours.config[name] for name in ("num_train_timesteps",)}).config is not None


def test_same_seed_same_sample():
    scheduler, sample = DDPMScheduler(), torch.randn(1, 4)
    one, other = (
        scheduler.step(sample, 500, sample, generator=torch.Generator().manual_seed(3)).prev_sample for _ in range(2)
    )
    assert torch.equal(one, other)
    output = scheduler.step(sample, 500, sample, variance_noise=sample)
    assert torch.equal(output[0], output.prev_sample)
    assert torch.equal(output[1], output.pred_original_sample)


def test_what_is_refused():
    with pytest.raises(ValueError, match="Unknown beta_schedule 'sigmoid'; choose from linear, scaled_linear"):
        DDIMScheduler(beta_schedule="sigmoid")
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="There is no step from 5"):
        scheduler.step(torch.zeros(1), 5, torch.zeros(1))
