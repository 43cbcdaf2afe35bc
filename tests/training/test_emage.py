"""EMAGE's training: terms, schedules, and that what is absent teaches nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cospeech.data import EmageBatch, EmageWindows, emage_take
from cospeech.losses import part_code_loss, part_latent_loss
from cospeech.models import EMAGE_PART_JOINTS, EmageGlobalMotion, EmageTransformer, EmageVQVAE, EmageVQVAEConfig
from cospeech.motion import Motion
from cospeech.pipelines import EmagePipeline
from cospeech.training import (
    CODE_WEIGHTS,
    LATENT_WEIGHTS,
    EmageTargets,
    draw_emage_mask,
    emage_losses,
    emage_mask_ratio,
    emage_parts,
    emage_targets,
    emage_vq_adam,
    global_motion_losses,
    published_emage_mask_ratio,
    share_trunk,
    vqvae_losses,
)

FRAMES = 20
ALL = frozenset(EMAGE_PART_JOINTS)


def batch_of(parts: frozenset[str] = ALL, *, sound: bool = True, data_set: str = "beat2", size: int = 2) -> EmageBatch:
    generator = torch.Generator().manual_seed(0)
    motion = Motion(
        local_axis_angle=0.3 * torch.randn(40, 55, 3, generator=generator),
        translation=torch.randn(40, 3, generator=generator),
        expressions=torch.randn(40, 100, generator=generator),
        rate_hz=30,
    )
    waveform = torch.randn(533 * 40, generator=generator) if sound else None
    take = emage_take(motion, waveform, parts=parts, data_set=data_set)
    return EmageWindows([take], [(0, i) for i in range(size)], window_frames=FRAMES).batch(range(size))


def losses_of(transformer: EmageTransformer, pipeline: EmagePipeline, batch: EmageBatch, ratio: float = 0.5):
    targets = emage_targets(pipeline.codec, batch)
    mask = draw_emage_mask(targets.motion.shape, ratio, torch.Generator().manual_seed(1))
    return emage_losses(transformer, targets, batch.waveform, batch.speaker, mask)


@pytest.fixture
def transformer(small_emage: EmagePipeline) -> EmageTransformer:
    """In evaluation mode, so that nothing is random and batches leave no trace in running means."""
    model = EmageTransformer(small_emage.transformer.config)
    model.load_state_dict(small_emage.transformer.state_dict())
    return model.eval()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_intended_and_published_schedule() -> None:
    assert emage_mask_ratio(0, 54000) == 0.05
    assert emage_mask_ratio(27000, 54000) == pytest.approx(0.525)
    assert emage_mask_ratio(54000, 54000) == 1.0
    assert published_emage_mask_ratio(0) == 0.05
    assert published_emage_mask_ratio(1) == pytest.approx(0.95 * 400 / 135 + 0.05)
    generator = torch.Generator().manual_seed(0)
    shares = [draw_emage_mask((4, 64, 337), ratio, generator).float().mean().item() for ratio in (0.05, 0.5, 2.9)]
    assert shares == pytest.approx([0.05, 0.5, 1.0], abs=0.01)


@pytest.mark.parametrize("part", sorted(ALL))
def test_perfect_reconstruction_costs_nothing_but_the_clamp(part: str) -> None:
    class Identity(EmageVQVAE):
        def forward(self, motion):
            zero = torch.zeros(*motion.shape[:2], 1)
            return type("Output", (), {"reconstruction": motion, "latents": zero, "codes": zero})

    motion = getattr(emage_parts(batch_of()), part)
    if part == "lower":
        motion = torch.cat([motion[..., :-4], torch.zeros_like(motion[..., -4:])], dim=-1)  # nothing stands: no slip
    losses = vqvae_losses(part, Identity(EmageVQVAEConfig(motion_dim=1, latent_dim=1)), motion)
    assert losses.rotation < 2e-3  # see `geodesic_angles`
    assert losses.total - losses.rotation < 1e-10


@pytest.mark.parametrize("part", sorted(ALL))
def test_every_parameter_of_a_part_learns(part: str, small_emage: EmagePipeline) -> None:
    motion = getattr(emage_parts(batch_of()), part)
    vqvae = EmageVQVAE(small_emage.codec.vqvae(part).config)
    losses = vqvae_losses(part, vqvae, motion)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vqvae.parameters())
    present = {name for name, value in losses._asdict().items() if value != 0}
    expected = {"rotation", "rotation_velocity", "rotation_acceleration", "quantizer"}
    expected |= {
        "face": {"signal", "signal_velocity", "signal_acceleration"},
        "lower": {"signal", "points"},
    }.get(part, {"points", "points_velocity", "points_acceleration"})
    assert present - {"feet"} == expected


def test_points_may_be_a_mesh(small_emage: EmagePipeline) -> None:
    """Vertices, for example; then the face has terms on points too."""
    seen: list[torch.Size] = []

    def points(rotations: Tensor) -> Tensor:
        seen.append(rotations.shape)
        return rotations.sum(-1).mean(2, keepdim=True)

    for part, motion in emage_parts(batch_of())._asdict().items():
        assert vqvae_losses(part, small_emage.codec.vqvae(part), motion, points=points).points > 0
    assert set(seen) == {(2, FRAMES, 55, 3, 3)}


def test_global_motion_sees_legs_alone() -> None:
    network = EmageGlobalMotion(EmageVQVAEConfig(motion_dim=61, latent_dim=8, num_stages=1))
    batch = batch_of()
    lower = emage_parts(batch).lower
    assert lower is not None
    losses = global_motion_losses(network, lower, batch.translation)
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    elsewhere = lower.clone()
    elsewhere[..., -7:-4] += 5  # what it is shown holds no translation, so its channels there do not matter
    torch.testing.assert_close(global_motion_losses(network, elsewhere, batch.translation).total, losses.total)


def test_standing_still_is_no_global_motion() -> None:
    class Still(EmageGlobalMotion):
        def forward(self, lower):
            return torch.cat(
                [lower[..., :-7] * 0, torch.tensor([0.0, 0.9, 0.0]).expand(*lower.shape[:2], 3), lower[..., -4:]], -1
            )

    network = Still(EmageVQVAEConfig(motion_dim=61, latent_dim=8, num_stages=1))
    lower = emage_parts(batch_of()).lower
    assert lower is not None
    lower = torch.cat([lower[..., :-7], torch.zeros_like(lower[..., -7:])], dim=-1)
    place = torch.tensor([1.0, 0.9, -2.0]).expand(*lower.shape[:2], 3)
    assert global_motion_losses(network, lower, place).total < 1e-5


def test_passes_are_the_published_three(transformer: EmageTransformer, small_emage: EmagePipeline) -> None:
    """The slow twin: three forwards, each hearing for itself."""
    batch = batch_of()
    targets = emage_targets(small_emage.codec, batch)
    mask = draw_emage_mask(targets.motion.shape, 0.5, torch.Generator().manual_seed(1))
    found = emage_losses(transformer, targets, batch.waveform, batch.speaker, mask)
    seeded = torch.ones_like(mask)
    seeded[:, :4] = False
    expected = []
    for hidden, use_audio in ((seeded, True), (mask, True), (mask, False)):
        output = transformer(batch.waveform, targets.motion, hidden, batch.speaker, use_audio=use_audio)
        expected += [
            part_latent_loss(output.latents._asdict(), targets.codes._asdict(), LATENT_WEIGHTS),
            part_code_loss(output.logits._asdict(), targets.indices._asdict(), CODE_WEIGHTS),
        ]
    torch.testing.assert_close(torch.stack(list(found)), torch.stack(expected))
    torch.testing.assert_close(found.total, torch.stack(expected).sum())


@pytest.mark.parametrize("absent", ["face", "upper", "hands", "lower"])
def test_an_absent_part_contributes_no_gradient(
    absent: str, transformer: EmageTransformer, small_emage: EmagePipeline
) -> None:
    batch = batch_of(ALL - {absent})
    losses_of(transformer, small_emage, batch).total.backward()
    learned = gradients(transformer)
    head = "face_head." if absent == "face" else f"part_head.{absent}."
    assert not any(name.startswith(head) for name in learned)
    others = [f"part_head.{part}." for part in ("upper", "hands", "lower") if part != absent]
    others += [] if absent == "face" else ["face_head.latents."]
    assert all(any(name.startswith(other) for name in learned) for other in (*others, "body_speech.", "audio_decoder."))

    # Whatever stands in its channels, NaN included, changes no gradient.
    joints = torch.zeros(55, dtype=torch.bool)
    joints[list(EMAGE_PART_JOINTS[absent])] = True
    broken = batch._replace(rot6d=batch.rot6d.masked_fill(joints.repeat_interleave(6), math.nan))
    if absent == "face":
        broken = broken._replace(expressions=broken.expressions * math.nan)
    if absent == "lower":
        broken = broken._replace(translation=broken.translation * math.nan, contact=broken.contact * math.nan)
    transformer.zero_grad()
    losses_of(transformer, small_emage, broken).total.backward()
    again = gradients(transformer)
    assert learned.keys() == again.keys()
    assert all(torch.equal(learned[name], again[name]) for name in learned)


def test_without_sound_nothing_that_hears_learns(transformer: EmageTransformer, small_emage: EmagePipeline) -> None:
    losses = losses_of(transformer, small_emage, batch_of(sound=False))
    losses.total.backward()
    learned = gradients(transformer)
    assert not any(name.startswith(("body_speech.", "face_", "audio_decoder.", "body_memory.")) for name in learned)
    assert {"part_head.upper.latents.weight", "body_in.weight", "mask_embedding"} <= learned.keys()
    assert losses.seed_codes == losses.audio_latents == 0
    with pytest.raises(ValueError, match="Without sound a batch must hold another part than the face"):
        losses_of(transformer, small_emage, batch_of(frozenset({"face"}), sound=False))


def test_words_are_learned_from(small_emage: EmagePipeline) -> None:
    transformer = EmageTransformer(replace(small_emage.transformer.config, text_dim=5)).train()
    batch = batch_of()
    targets = emage_targets(small_emage.codec, batch)
    mask, words = torch.rand(targets.motion.shape) < 0.5, torch.randn(2, FRAMES, 5)
    emage_losses(transformer, targets, batch.waveform, batch.speaker, mask, words=words).total.backward()
    for part in (transformer.body_speech, transformer.face_speech):
        assert all(p.grad is not None and p.grad.any() for p in (part.content.weight, part.mix.weigh[0].weight))


def test_data_sets_share_the_trunk_and_nothing_else(transformer: EmageTransformer, small_emage: EmagePipeline) -> None:
    models = share_trunk(transformer, ["beat2", "amass"])
    heads = sum(p.numel() for n, p in transformer.named_parameters() if n.startswith(("face_head", "part_head")))
    assert sum(p.numel() for p in models.parameters()) == sum(p.numel() for p in transformer.parameters()) + heads
    optimizer = torch.optim.Adam(models.parameters(), lr=1e-2)
    before = {name: value.clone() for name, value in models.state_dict().items()}
    losses_of(models["amass"], small_emage, batch_of(frozenset({"upper", "lower"}), sound=False)).total.backward()
    optimizer.step()
    changed = {name for name, value in models.state_dict().items() if not torch.equal(value, before[name])}
    own = {name for name in changed if "_head." in name}
    assert own
    assert all(name.startswith("amass.part_head.upper") or name.startswith("amass.part_head.lower") for name in own)
    trunk = {name.partition(".")[2] for name in changed - own}
    assert trunk
    assert all(f"beat2.{name}" in changed and f"amass.{name}" in changed for name in trunk)


def test_data_sets_may_differ_in_codebooks(small_emage: EmagePipeline, transformer: EmageTransformer) -> None:
    models = share_trunk(transformer, ["beat2", "other"])
    other = EmagePipeline(models["other"], small_emage.codec)
    assert other.transformer.audio_decoder is models["beat2"].audio_decoder
    assert other(torch.randn(16000), source_rate_hz=16000).num_frames == 30


def test_training_lowers_every_loss(small_emage: EmagePipeline) -> None:
    torch.manual_seed(0)
    batch = batch_of(size=4)
    model = EmageTransformer(small_emage.transformer.config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    targets: EmageTargets = emage_targets(small_emage.codec, batch)
    generator, totals = torch.Generator().manual_seed(0), []
    for step in range(60):
        mask = draw_emage_mask(targets.motion.shape, emage_mask_ratio(step, 60), generator)
        losses = emage_losses(model, targets, batch.waveform, batch.speaker, mask)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        totals.append(torch.stack(list(losses)).detach())
    assert (torch.stack(totals[-5:]).mean(0) < torch.stack(totals[:5]).mean(0)).all()


def test_a_vqvae_learns_its_part() -> None:
    torch.manual_seed(0)
    motion = emage_parts(batch_of(size=8)).upper
    assert motion is not None
    vqvae = EmageVQVAE(EmageVQVAEConfig(motion_dim=78, latent_dim=16, num_codes=16)).train()
    optimizer, totals = emage_vq_adam(vqvae.parameters(), 1e-3), []
    for _ in range(40):
        losses = vqvae_losses("upper", vqvae, motion)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        optimizer.step()
        totals.append(losses.total.item())
    assert totals[-1] < 0.8 * totals[0]


def test_errors(transformer: EmageTransformer, small_emage: EmagePipeline) -> None:
    batch = batch_of()
    targets = emage_targets(small_emage.codec, batch)
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 20, 337\); got \(2, 20, 55\)"):
        emage_losses(transformer, targets, batch.waveform, batch.speaker, torch.ones(2, 20, 55))
    with pytest.raises(ValueError, match="Unknown part 'legs'; choose from face, upper, hands, lower"):
        vqvae_losses("legs", small_emage.codec.lower, emage_parts(batch).lower)
    with pytest.raises(ValueError, match=r"`translation` must have shape \(2, 20, 3\)"):
        global_motion_losses(small_emage.codec.global_motion, emage_parts(batch).lower, torch.zeros(2, 19, 3))
