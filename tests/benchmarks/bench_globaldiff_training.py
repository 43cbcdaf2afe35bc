"""A training step of GlobalDiff's denoiser: the published order of work against ours, same numbers.

``python tests/benchmarks/bench_globaldiff_training.py`` prints two tables for each size: the constraints alone (target,
losses, gradient of the prediction), and the whole step. "plain" is ``plain_globaldiff.py``: stock layers, kinematics
joint by joint; in every step the windows turned from axis-angle, points, bones and latents of the ground truth measured
and expressions heard anew; gradients clipped by torch's function, Adam as torch has it by default. Encoders and speech
model are frozen in both. Times are those of the thread, so that what else the machine does counts as little as it can.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech.hub.convert.globaldiff import denoiser_to_published, speech_model_to_published
from cospeech.hub.convert.globaldiff_vae import masked_vae_to_published
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.schedulers import flow_interpolate
from cospeech.skeleton import SMPLX
from cospeech.training import DenoiserBatch, DenoiserObjective, adam, denoiser_losses, draw_step, optimizer_step

sys.path.insert(0, str(Path(__file__).parent))
from plain_globaldiff import PlainDenoiser, PlainSpeechModel, PlainVAEEncoder, plain_losses, plain_rot6d
from timing import compare

FRAMES = 60
STAGES = ((3,), (2, 2))


def plain_encoder(vae: MaskedVAE) -> PlainVAEEncoder:
    """The published encoder with the weights of ours."""
    config = vae.config
    plain = PlainVAEEncoder(
        config.stage_blocks,
        config.hidden_dim,
        latent_dim=config.latent_dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        feedforward_dim=config.feedforward_dim,
    )
    state = masked_vae_to_published(vae)
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    return plain.eval().requires_grad_(False)


def contestants(small: bool, size: int) -> tuple[dict[str, Callable[[], Tensor]], dict[str, Callable[[], Tensor]]]:
    """The constraints alone, and the whole step, in both ways."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"num_layers": 3, "num_heads": 4, "feedforward_dim": 256} if small else {}
    vae_sizes = {"latent_dim": 32, "num_layers": 2, "feedforward_dim": 128} if small else {}
    dim, vae_dim = ({"hidden_dim": 128}, {"hidden_dim": 64}) if small else ({}, {})
    denoiser = GlobalDiffDenoiser(GlobalDiffConfig(**dim, **sizes))
    speech = SpeechModel(SpeechModelConfig(**dim, **sizes)).eval().requires_grad_(False)
    encoders = [MaskedVAE(MaskedVAEConfig(stage_blocks=blocks, **vae_dim, **vae_sizes)).eval() for blocks in STAGES]
    for module in (denoiser, speech, *encoders):
        for parameter in module.parameters():  # what starts at zero would be cheap, or blind
            nn.init.normal_(parameter, std=0.03, generator=generator)
    other = PlainDenoiser(denoiser.config.hidden_dim, **sizes)
    other.load_state_dict(denoiser_to_published(denoiser))
    plain_speech = PlainSpeechModel(speech.config.hidden_dim, **sizes).eval().requires_grad_(False)
    plain_speech.load_state_dict(speech_model_to_published(speech))
    plain_encoders = [plain_encoder(encoder) for encoder in encoders]

    axis_angle = 0.4 * torch.randn(size, FRAMES, 55, 3, generator=generator)
    translation = torch.randn(size, FRAMES, 3, generator=generator)
    clean = torch.cat([axis_angle_to_rot6d(axis_angle).flatten(-2), translation], dim=-1)
    features = torch.randn(size, FRAMES, 1024, generator=generator)
    rest = SMPLX.rest_joints.float().expand(size, -1, -1)
    speaker, draws = torch.full((size,), 2), draw_step(clean.shape, generator)
    predicted = clean + 0.1 * torch.randn(clean.shape, generator=generator)

    objective = DenoiserObjective(encoders)
    target = objective.target(clean, rest)
    batch = DenoiserBatch(target, features, speech(features, speaker), speaker, rest)
    # A learning rate of zero, so that every turn of the measurement sees the same weights; the work is the same.
    optimizer, plain_optimizer = adam(denoiser.parameters(), 0.0), torch.optim.Adam(other.parameters(), lr=0.0)

    def losses_plain() -> Tensor:
        x = predicted.clone().requires_grad_()
        loss = sum(plain_losses(x, clean, rest, plain_encoders).values())
        loss.backward()
        return loss.detach()

    def losses_ours() -> Tensor:
        x = predicted.clone().requires_grad_()
        loss = objective.losses(x, target, rest).total
        loss.backward()
        return loss.detach()

    def step_plain() -> Tensor:
        plain_optimizer.zero_grad()
        clean = torch.cat([plain_rot6d(axis_angle).flatten(-2), translation], dim=-1)
        noisy = flow_interpolate(clean, draws.noise, draws.time, sigma_min=1e-3)
        expressions = plain_speech(features, speaker)
        x = other(noisy, draws.time, speaker, clean[:, :8], features, expressions)
        loss = sum(plain_losses(x, clean, rest, plain_encoders).values())
        loss.backward()
        nn.utils.clip_grad_value_(other.parameters(), 1.0)
        plain_optimizer.step()
        return loss.detach()

    def step_ours() -> Tensor:
        loss = denoiser_losses(denoiser, objective, batch, draws).total
        optimizer_step(loss, optimizer)
        return loss.detach()

    return {"plain": losses_plain, "ours": losses_ours}, {"plain": step_plain, "ours": step_ours}


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)
    for small, size in ((True, 8), (False, 2), (False, 8)):
        for part, ways in zip(("constraints", "whole step"), contestants(small, size), strict=True):
            values = {name: way().item() for name, way in ways.items()}
            gap = abs(values["plain"] - values["ours"]) / values["plain"]
            assert gap < 1e-5, values
            times = compare(ways, seconds=4, clock=time.thread_time)
            print(f"\n| {part}, {'small' if small else 'published'} size, {size} windows | ms | times faster |")
            print("|---|---|---|")
            for name, seconds in times.items():
                print(f"| {name} | {1e3 * seconds:.1f} | {times['plain'] / seconds:.2f} |")
            print(f"\nloss {values['ours']:.5f}, relative difference {gap:.0e}", flush=True)


if __name__ == "__main__":
    main()
