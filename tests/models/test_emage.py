import dataclasses

import pytest
import torch

from cospeech.models import EmageConfig, EmageParts, EmageTransformer

SMALL = EmageConfig(
    hidden_dim=32,
    feedforward_dim=48,
    num_heads=2,
    motion_latent_dim=16,
    audio_dim=16,
    num_audio_layers=2,
    num_face_layers=2,
    code_dim=8,
    num_codes=12,
    num_speakers=3,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return EmageTransformer(SMALL).eval()


def inputs(num_frames=30, batch=2):
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(batch, 533 * num_frames, generator=generator)
    motion = torch.randn(batch, num_frames, 337, generator=generator)
    mask = torch.rand(batch, num_frames, 337, generator=generator) < 0.5
    return audio, motion, mask, torch.arange(batch) % 3


def tensors(output):
    return [x for parts in output for x in parts]


def test_hidden_motion_is_not_looked_at(model):
    audio, motion, mask, speaker = inputs()
    other = torch.where(mask, torch.randn_like(motion), motion)
    for one, two in zip(
        tensors(model(audio, motion, mask, speaker)), tensors(model(audio, other, mask, speaker)), strict=True
    ):
        assert torch.equal(one, two)
    seen = torch.where(mask, motion, torch.randn_like(motion))
    changed = model(audio, seen, mask, speaker)
    assert not torch.allclose(changed.latents.upper, model(audio, motion, mask, speaker).latents.upper)


def test_mask_of_numbers_and_of_bools_agree(model):
    audio, motion, mask, speaker = inputs()
    one, two = model(audio, motion, mask, speaker), model(audio, motion, mask.float(), speaker)
    assert torch.equal(one.logits.hands, two.logits.hands)


def test_without_audio_only_the_body_is_deaf(model):
    audio, motion, mask, speaker = inputs()
    deaf, hearing = model(audio, motion, mask, speaker, use_audio=False), model(audio, motion, mask, speaker)
    other = model(audio.flip(1), motion, mask, speaker, use_audio=False)
    assert torch.equal(deaf.latents.face, hearing.latents.face)
    assert torch.equal(deaf.latents.lower, other.latents.lower)
    assert not torch.equal(deaf.latents.lower, hearing.latents.lower)


def test_clips_of_a_batch_do_not_mix(model):
    audio, motion, mask, speaker = inputs(batch=3)
    whole = model(audio, motion, mask, speaker)
    alone = model(audio[1:2], motion[1:2], mask[1:2], speaker[1:2])
    for one, two in zip(tensors(alone), tensors(whole), strict=True):
        torch.testing.assert_close(one, two[1:2], rtol=1e-4, atol=1e-5)


def test_heard_together_or_alone(model):
    audio, motion, mask, speaker = inputs(batch=3)
    heard = model.hear(audio).rows(slice(1, 2))
    alone = model(audio[1:2], motion[1:2], mask[1:2], speaker[1:2])
    rows = model.complete(heard, motion[1:2], mask[1:2], speaker[1:2])
    for one, two in zip(tensors(rows), tensors(alone), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_in_one_of_both_paths():
    model = EmageTransformer(dataclasses.replace(SMALL, dropout=0.0))
    audio, motion, mask, speaker = inputs(batch=3)
    for use_audio in (True, False):
        output = model(audio, motion, mask, speaker, use_audio=use_audio)
        sum(x.square().mean() for x in tensors(output)).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not still


@pytest.mark.parametrize("fusion", ["frame", "channel"])
def test_with_words(fusion):
    config = dataclasses.replace(SMALL, text_dim=20, fusion=fusion)
    model = EmageTransformer(config).eval()
    audio, motion, mask, speaker = inputs()
    signals, words = torch.stack([audio.abs(), audio], 1), torch.randn(2, 30, 20)
    output = model(signals, motion, mask, speaker, words=words)
    assert output.logits.face.shape == (2, 30, 12)
    other = model(signals, motion, mask, speaker, words=words.flip(1))
    assert not torch.equal(output.latents.hands, other.latents.hands)
    with pytest.raises(ValueError, match="`words` must be given"):
        model(signals, motion, mask, speaker)
    with pytest.raises(ValueError, match=r"`words` must have shape \(B, T, 20\)"):
        model(signals, motion, mask, speaker, words=words[..., :3])


def test_named_configurations_can_be_built():
    with torch.device("meta"):
        for config in (EmageConfig(), EmageConfig.paper(), EmageConfig.legacy()):
            EmageTransformer(config)


def test_stacks_start_alike(model):
    first = model.face_decoder[0].state_dict()
    for layer in (model.audio_decoder[1], model.part_decoder["hands"][0]):
        assert all(torch.equal(value, first[key]) for key, value in layer.state_dict().items())


def test_errors(model):
    audio, motion, mask, speaker = inputs()
    with pytest.raises(ValueError, match=r"`audio` must last as long as `motion`; it gives 16 features for 30 frames"):
        model(audio[:, : 533 * 15], motion, mask, speaker)
    with pytest.raises(ValueError, match=r"`motion` must have shape \(B, T, 337\); got \(2, 30, 330\)"):
        model(audio, motion[..., :330], mask, speaker)
    with pytest.raises(ValueError, match=r"`mask` must have shape \(2, 30, 337\); got \(2, 29, 337\)"):
        model(audio, motion, mask[:, 1:], speaker)
    with pytest.raises(ValueError, match="this one hears audio only"):
        model(audio, motion, mask, speaker, words=torch.zeros(2, 30, 300))
    with pytest.raises(ValueError, match="must share out"):
        EmageConfig(code_parts=("face",), latent_parts=("face",))
    with pytest.raises(ValueError, match="`seed_frames` must be from 1 to 63; got 64"):
        EmageConfig(seed_frames=64)
    assert EmageParts().map(lambda name, x: x) == EmageParts()
