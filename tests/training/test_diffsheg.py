from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.training import (
    DiffSHEGBatch,
    DiffSHEGDraws,
    DiffSHEGWeights,
    diffsheg_losses,
    diffsheg_optimizer_step,
    draw_diffsheg_step,
    null_rows,
)

CONFIG = DiffSHEGConfig(
    gesture_dim=6,
    expression_dim=4,
    mel_dim=8,
    speech_feature_dim=5,
    num_speakers=2,
    hidden_dim=16,
    num_layers=1,
    num_heads=2,
    feedforward_dim=8,
    fusion_dim=8,
    condition_dim=16,
    audio_dim=4,
    speech_dim=4,
    unconditional=True,
)


class Knowing(nn.Module):
    """A denoiser that says what it was told to say."""

    def __init__(self, noise):
        super().__init__()
        self.config, self.noise, self.told = CONFIG, noise, None

    def forward(self, noisy, timesteps, mel, speech, speaker, *, unconditional=None):
        self.told = unconditional
        return self.noise


def batch(num_rows=4, num_frames=7, semantic=None):
    generator = torch.Generator().manual_seed(0)
    clean, mel, speech = (torch.randn(num_rows, num_frames, width, generator=generator) for width in (10, 8, 5))
    return DiffSHEGBatch(clean, mel, speech, torch.zeros(num_rows, dtype=torch.long), semantic)


def draws(num_rows=4, num_frames=7):
    generator = torch.Generator().manual_seed(1)
    timesteps = torch.tensor([0, 10, 100, 300])[:num_rows]
    return DiffSHEGDraws(torch.randn(num_rows, num_frames, 10, generator=generator), timesteps)


def test_the_true_noise_loses_nothing():
    step = draws()
    losses = diffsheg_losses(Knowing(step.noise), batch(), step)
    assert losses.total < 1e-5


def test_terms_by_hand():
    """A constant error in the noise: no velocity is wrong, the clean estimate is off by its share."""
    step, error = draws(num_rows=1), 0.01
    losses = diffsheg_losses(Knowing(step.noise + error), batch(num_rows=1), step)
    assert losses.noise.item() == pytest.approx(1000 * error**2, rel=1e-4)
    assert losses.velocity.item() == pytest.approx(0, abs=1e-6)
    off = error * (1 / 0.9999 - 1) ** 0.5  # at level 0 the share of signal is 1 - 1e-4
    assert losses.clean.item() == pytest.approx(100 * 0.5 * off**2 / 0.1, rel=1e-2)


def test_weights_and_semantics_count():
    step = draws()
    network = Knowing(step.noise + 0.1)
    plain = diffsheg_losses(network, batch(), step)
    only_noise = diffsheg_losses(network, batch(), step, weights=DiffSHEGWeights(noise=1.0, velocity=0.0, clean=0.0))
    assert only_noise.total.item() == pytest.approx(plain.noise.item() / 1000, rel=1e-5)
    semantic = diffsheg_losses(network, batch(semantic=torch.ones(4, 7)), step)
    assert semantic.clean > plain.clean
    assert semantic.noise == plain.noise


def test_rows_without_condition_are_the_first():
    assert null_rows(190).sum() == 38
    assert null_rows(1).all()
    network, rows = Knowing(draws().noise), null_rows(4)
    diffsheg_losses(network, batch(), draws(), unconditional=rows)
    assert network.told is rows


def test_draws_come_from_the_generator():
    denoiser, clean = DiffSHEGDenoiser(CONFIG), batch().clean
    one, other = (draw_diffsheg_step(denoiser, clean, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one.noise, other.noise)
    assert torch.equal(one.timesteps, other.timesteps)
    assert one.noise.shape == clean.shape


def test_steps_make_the_loss_smaller_and_are_clipped():
    torch.manual_seed(0)
    denoiser = DiffSHEGDenoiser(dataclasses.replace(CONFIG, num_timesteps=1000)).train()
    optimizer = torch.optim.SGD(denoiser.parameters(), lr=1e-3)
    before = [parameter.detach().clone() for parameter in denoiser.parameters()]
    diffsheg_optimizer_step(diffsheg_losses(denoiser, batch(), draws()).total, optimizer)
    moved = torch.stack([(a - b).norm() for a, b in zip(before, denoiser.parameters(), strict=True)]).norm()
    assert moved.item() == pytest.approx(0.5 * 1e-3, rel=1e-2)  # the gradient's norm is clipped to 0.5
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = diffsheg_losses(denoiser, batch(), draws()).total
        losses.append(loss.item())
        diffsheg_optimizer_step(loss, optimizer)
    assert losses[-1] < 0.5 * losses[0]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`clean` must have shape \(B, T, 10\)"):
        diffsheg_losses(Knowing(torch.zeros(1)), batch()._replace(clean=torch.zeros(4, 7, 9)), draws())
