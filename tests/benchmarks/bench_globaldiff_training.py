"""A training step of GlobalDiff's denoiser: the plain order of work against ours, same numbers.

``python tests/benchmarks/bench_globaldiff_training.py`` prints two tables for each size: the constraints alone (target,
losses, gradient of the prediction), and the whole step. "plain" does as published: kinematics joint by joint,
points, bones and latents of the ground truth anew in every step, expressions heard anew, Adam as torch has it by
default. Encoders are frozen in both.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.rotations import axis_angle_to_matrix, matrix_to_rot6d
from cospeech.schedulers import flow_interpolate
from cospeech.skeleton import SMPLX, anchor_offsets
from cospeech.training import DenoiserBatch, DenoiserObjective, adam, denoiser_losses, draw_step, optimizer_step

sys.path.insert(0, str(Path(__file__).parent))
from timing import compare

FRAMES = 60


def plain_matrices(rot6d: Tensor) -> Tensor:
    """Gram-Schmidt, written out."""
    first, second = rot6d[..., :3], rot6d[..., 3:]
    first = F.normalize(first, dim=-1)
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def plain_points(motion: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Joints, and joints with anchors in space, joint by joint."""
    rotations = plain_matrices(motion[..., :-3].reshape(-1, 55, 6))
    rest = rest[:, None].expand(-1, motion.shape[1], -1, -1).reshape(-1, 55, 3)
    joints = [torch.zeros_like(rest[:, 0])]
    for joint, parent in enumerate(SMPLX.parents[1:], start=1):
        bone = (rest[:, joint] - rest[:, parent])[..., None]
        joints.append((rotations[:, parent] @ bone)[..., 0] + joints[parent])
    stacked = torch.stack(joints, dim=1)
    offsets = anchor_offsets(6).repeat(55, 1)
    anchored = torch.arange(55).repeat_interleave(6)
    anchors = (rotations[:, anchored] @ offsets[..., None])[..., 0] + stacked[:, anchored]
    points = torch.cat([stacked, anchors], dim=1).reshape(*motion.shape[:2], -1, 3) + motion[..., None, -3:]
    return stacked, points


def plain_losses(predicted: Tensor, clean: Tensor, rest: Tensor, encoders: list[MaskedVAE]) -> Tensor:
    """The published loss."""
    (j, p), (j_true, p_true) = (plain_points(x, rest) for x in (predicted, clean))

    def reconstruction(frames: slice) -> Tensor:
        a, b = (plain_matrices(x[:, frames, :-3].reshape(-1, 6)) for x in (predicted, clean))
        product = a @ b.transpose(1, 2)
        cosine = (product.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
        angles = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        return angles.mean() + (predicted[:, frames, -3:] - clean[:, frames, -3:]).abs().mean()

    def smooth(a: Tensor, b: Tensor) -> Tensor:
        return F.smooth_l1_loss(a, b, beta=0.02)

    def gram(joints: Tensor) -> Tensor:
        bones = torch.stack([joints[:, i] - joints[:, SMPLX.parents[i]] for i in range(1, 55)], dim=1)
        bones = bones / (bones.norm(dim=-1, keepdim=True) + 1e-6)
        return bones @ bones.transpose(1, 2)

    velocity, velocity_true = p[:, 1:] - p[:, :-1], p_true[:, 1:] - p_true[:, :-1]
    acceleration, acceleration_true = (x[:, 1:] - x[:, :-1] for x in (velocity, velocity_true))
    latent = sum(smooth(encoder.encode(predicted).mean, encoder.encode(clean).mean) for encoder in encoders)
    return (
        F.mse_loss(predicted, clean)
        + 1e-3 * reconstruction(slice(None))
        + smooth(p, p_true)
        + 10 * smooth(velocity, velocity_true)
        + 10 * smooth(acceleration, acceleration_true)
        + (gram(j) - gram(j_true)).abs().mean()
        + 0.2 * latent
        + 0.1 * reconstruction(slice(8))
    )


def contestants(small: bool, size: int) -> tuple[dict[str, Callable[[], Tensor]], dict[str, Callable[[], Tensor]]]:
    """The constraints alone, and the whole step, in both ways."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"hidden_dim": 128, "num_layers": 3, "num_heads": 4, "feedforward_dim": 256} if small else {}
    vae_sizes = {"hidden_dim": 64, "latent_dim": 32, "num_layers": 2, "feedforward_dim": 128} if small else {}
    denoiser = GlobalDiffDenoiser(GlobalDiffConfig(**sizes))
    speech = SpeechModel(SpeechModelConfig(**sizes)).eval().requires_grad_(False)
    encoders = [MaskedVAE(MaskedVAEConfig(stage_blocks=blocks, **vae_sizes)).eval() for blocks in ((3,), (2, 2))]
    for module in (denoiser, speech, *encoders):
        for parameter in module.parameters():  # what starts at zero would be cheap, or blind
            nn.init.normal_(parameter, std=0.03, generator=generator)
    plain_encoders, other = copy.deepcopy(encoders), copy.deepcopy(denoiser)
    for encoder in plain_encoders:
        encoder.requires_grad_(False)

    rotations = axis_angle_to_matrix(0.4 * torch.randn(size, FRAMES, 55, 3, generator=generator))
    translation = torch.randn(size, FRAMES, 3, generator=generator)
    clean = torch.cat([matrix_to_rot6d(rotations).flatten(-2), translation], dim=-1)
    features = torch.randn(size, FRAMES, 1024, generator=generator)
    rest = (SMPLX.rest_joints - SMPLX.rest_joints[0]).expand(size, -1, -1)
    speaker, draws = torch.full((size,), 2), draw_step(clean.shape, generator)
    noisy = flow_interpolate(clean, draws.noise, draws.time, sigma_min=1e-3)
    predicted = clean + 0.1 * torch.randn(clean.shape, generator=generator)

    objective = DenoiserObjective(encoders)
    target = objective.target(clean, rest)
    batch = DenoiserBatch(target, features, speech(features, speaker), speaker, rest)
    optimizer, plain_optimizer = adam(denoiser.parameters(), 0.0), torch.optim.Adam(other.parameters(), lr=0.0)

    def losses_plain() -> Tensor:
        x = predicted.clone().requires_grad_()
        loss = plain_losses(x, clean, rest, plain_encoders)
        loss.backward()
        return loss.detach()

    def losses_ours() -> Tensor:
        x = predicted.clone().requires_grad_()
        loss = objective.losses(x, target, rest).total
        loss.backward()
        return loss.detach()

    def step_plain() -> Tensor:
        with torch.no_grad():
            expressions = speech(features, speaker)
        x = other(noisy, draws.time, speaker, clean[:, :8], features, expressions)
        loss = plain_losses(x, clean, rest, plain_encoders)
        plain_optimizer.zero_grad()
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
            assert gap < 1e-4, values
            times = compare({name: partial(way) for name, way in ways.items()}, seconds=3)
            print(f"\n| {part}, {'small' if small else 'published'} size, {size} windows | ms | times faster |")
            print("|---|---|---|")
            for name, seconds in times.items():
                print(f"| {name} | {1e3 * seconds:.1f} | {times['plain'] / seconds:.2f} |")
            print(f"\nloss {values['ours']:.5f}, relative difference {gap:.0e}", flush=True)


if __name__ == "__main__":
    main()
