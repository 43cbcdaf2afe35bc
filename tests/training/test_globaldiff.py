"""Laws of GlobalDiff's training steps; the numbers themselves are held in tests/parity."""

from __future__ import annotations

import pytest
import torch

from cospeech.losses import point_losses
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.rotations import axis_angle_to_matrix, matrix_to_rot6d
from cospeech.skeleton import SMPLX, anchor_offsets, anchor_points
from cospeech.training import (
    DenoiserBatch,
    DenoiserLosses,
    DenoiserObjective,
    DenoiserWeights,
    VAETrainingConfig,
    adam,
    anchored_losses,
    denoiser_losses,
    draw_step,
    draw_vae_step,
    measure_motion,
    optimizer_step,
    speech_loss,
    vae_losses,
)


def motion_of(size: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    rotations = axis_angle_to_matrix(0.4 * torch.randn(size, frames, 55, 3, generator=generator))
    translation = torch.randn(size, frames, 3, generator=generator)
    return torch.cat([matrix_to_rot6d(rotations).flatten(-2), translation], dim=-1)


def rest_joints(size: int) -> torch.Tensor:
    scale = torch.linspace(0.9, 1.1, size)[:, None, None]
    return scale * SMPLX.rest_joints


@pytest.fixture
def vae() -> MaskedVAE:
    return MaskedVAE(MaskedVAEConfig(hidden_dim=16, latent_dim=4, num_layers=1, num_heads=2, feedforward_dim=16))


@pytest.mark.parametrize("num_anchors", [4, 6, 20])
def test_anchored_losses_equal_explicit_points(num_anchors: int, generator: torch.Generator) -> None:
    predicted, target = (measure_motion(motion_of(2, 6, generator), rest_joints(2)) for _ in range(2))

    def points(motion):
        joints = motion.joints + motion.translation[..., None, :]
        anchors = anchor_points(joints, motion.rotations, anchor_offsets(num_anchors))
        return torch.cat([joints, anchors.flatten(-3, -2)], dim=-2)

    slow = point_losses(points(predicted), points(target))
    for ours, theirs in zip(anchored_losses(predicted, target, num_anchors=num_anchors), slow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_swapped_translations_are_the_published_mistake(generator: torch.Generator) -> None:
    motion = motion_of(1, 5, generator)
    moved = torch.cat([motion[..., :-3], motion[..., -3:] + 0.5], dim=-1)
    a, b = (measure_motion(x, rest_joints(1)) for x in (motion, moved))
    right, wrong = anchored_losses(a, b), anchored_losses(a, b, translation_sign=-1.0)
    torch.testing.assert_close(right[0], wrong[0])  # nothing but the translation differs: the sign is not seen
    turned = torch.cat([motion_of(1, 5, generator)[..., :-3], moved[..., -3:]], dim=-1)
    c = measure_motion(turned, rest_joints(1))
    assert not torch.allclose(anchored_losses(a, c)[0], anchored_losses(a, c, translation_sign=-1.0)[0])


def test_a_perfect_prediction_leaves_the_clamp_of_the_angles(vae: MaskedVAE, generator: torch.Generator) -> None:
    motion, rest = motion_of(2, 12, generator), rest_joints(2)
    objective = DenoiserObjective([vae])
    losses = objective.losses(motion, objective.target(motion, rest), rest)
    weights = objective.weights
    clamped = (weights.geodesic + weights.seed) * 0.00142
    assert losses.total.item() == pytest.approx(clamped, rel=0.05)
    assert losses.mse.item() == losses.position.item() == losses.latent.item() == 0
    assert losses.structure.item() < 1e-6  # two halves of one sum, which need not cancel to the last bit


def test_kept_targets_are_those_of_the_windows(vae: MaskedVAE, generator: torch.Generator) -> None:
    motion, rest = motion_of(5, 8, generator), rest_joints(5)
    objective, rows = DenoiserObjective([vae]), torch.tensor([3, 0, 3])
    kept, fresh = objective.target(motion, rest).select(rows), objective.target(motion[rows], rest[rows])
    predicted = motion_of(3, 8, generator)
    for a, b in zip(*(objective.losses(predicted, x, rest[rows]) for x in (kept, fresh)), strict=True):
        torch.testing.assert_close(a, b)


def test_weights_scale_their_terms(generator: torch.Generator) -> None:
    motion, rest = motion_of(1, 8, generator), rest_joints(1)
    predicted = motion_of(1, 8, generator)
    once, twice = (
        (lambda objective: objective.losses(predicted, objective.target(motion, rest), rest))(
            DenoiserObjective([], weights=weights)
        )
        for weights in (DenoiserWeights(), DenoiserWeights(velocity=20.0))
    )
    for name in DenoiserLosses._fields:
        factor = 2.0 if name == "velocity" else 1.0
        torch.testing.assert_close(getattr(twice, name), factor * getattr(once, name))
    assert once.latent.item() == 0


def small_denoiser() -> GlobalDiffDenoiser:
    return GlobalDiffDenoiser(
        GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, feedforward_dim=32, feature_dim=6, speaker_dim=8)
    )


def test_a_few_steps_lower_the_loss_and_leave_the_encoders_alone(vae: MaskedVAE, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    denoiser, rest = small_denoiser(), rest_joints(2)
    objective = DenoiserObjective([vae])
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    batch = DenoiserBatch(
        target=objective.target(motion_of(2, 12, generator), rest),
        features=torch.randn(2, 12, 6, generator=generator),
        expressions=torch.randn(2, 12, 100, generator=generator),
        speaker=torch.tensor([2, 4]),
        rest_joints=rest,
    )
    draws, optimizer = draw_step((2, 12, 333), generator), adam(denoiser.parameters(), 1e-3)
    totals = []
    for _ in range(12):
        losses = denoiser_losses(denoiser, objective, batch, draws)
        optimizer_step(losses.total, optimizer)
        totals.append(losses.total.item())
    assert totals[-1] < 0.8 * totals[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in vae.state_dict().items())
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_clipping_bounds_every_number() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -1.0, 0.0]))
    optimizer_step((1e6 * weight.square()).sum(), torch.optim.SGD([weight], lr=1.0))
    torch.testing.assert_close(weight.detach(), torch.tensor([0.0, 0.0, 0.0]))


def test_draws_follow_the_generator_and_leave_the_global_seed() -> None:
    state = torch.random.get_rng_state()
    first, second = (draw_step((3, 4, 5), torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.time, second.time)
    assert torch.equal(state, torch.random.get_rng_state())
    generator = torch.Generator().manual_seed(0)
    dropped = [draw_step((1, 1, 1), generator).drops_speaker for _ in range(1000)]
    assert 60 < sum(dropped) < 145


def test_vae_terms(vae: MaskedVAE, generator: torch.Generator) -> None:
    target, rest = measure_motion(motion_of(2, 8, generator), rest_joints(2)), rest_joints(2)
    draws = draw_vae_step(vae, target.features, generator, mask_probability=0.5)
    assert draws.mask.shape == (2, 8)
    vae.eval()
    first, later = (vae_losses(vae, target, rest, draws, epoch=epoch)[0] for epoch in (0, 4))
    assert first.divergence.item() == 0
    assert later.divergence.item() > 0
    full, more = (vae_losses(vae, target, rest, draws, epoch=epoch)[0].divergence for epoch in (10, 99))
    torch.testing.assert_close(full, more)
    mended, _ = vae_losses(vae, target, rest, draws, epoch=0, config=VAETrainingConfig(swapped_translations=False))
    assert not torch.allclose(mended.position, first.position)


def test_speech_loss_of_the_truth_is_nothing(generator: torch.Generator) -> None:
    model = SpeechModel(SpeechModelConfig(hidden_dim=16, num_layers=1, num_heads=2, feedforward_dim=16, feature_dim=6))
    features, speaker = torch.randn(2, 5, 6, generator=generator), torch.tensor([1, 2])
    assert speech_loss(model.eval(), features, speaker, model(features, speaker)).item() == 0
    assert speech_loss(model, features, speaker, torch.ones(2, 5, 100)).item() > 0
