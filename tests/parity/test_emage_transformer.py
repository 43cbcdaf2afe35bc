"""EMAGE's waveform encoder, transformer, whole clips and training losses against the published program."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.hub.convert.emage import (
    WAVE_ENCODER,
    transformer_config,
    transformer_from_published,
    transformer_to_published,
)
from cospeech.hub.convert.emage_vqvae import global_motion_from_published, vqvae_from_published
from cospeech.losses import part_code_loss, part_latent_loss
from cospeech.models import (
    EmageGenerator,
    EmageMotionCodec,
    EmageParts,
    blank_emage_hints,
    emage_num_frames,
    split_emage_motion,
)
from cospeech.nn import WaveEncoder
from cospeech.representations import emage_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_rot6d

PARTS = EmageParts._fields


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def audio_of(int16):
    return int16.float() / 32768 * 20


def kept_tensors(layout):
    """What the published constructor makes: counters and two periods of positions."""
    keep = {}
    for key, shape, _, status in layout["keys"]:
        if status == "keep" and key.endswith("num_batches_tracked"):
            keep[key] = torch.zeros(shape, dtype=torch.int64)
        elif status == "keep":
            dim, period = shape[-1], layout["config"]["pose_length"]
            angles = torch.arange(period)[:, None] * 10000 ** (-torch.arange(0, dim, 2) / dim)
            table = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
            keep[key] = table.repeat(shape[1] // period, 1)[None]
    return keep


def published_state(case, layout=None):
    return case.published_state(layout, keep=kept_tensors(case.layout(layout)))


_MODELS = {}


def transformer_of(case):
    """The transformer of a case; the last one is kept, since it takes seconds to fill."""
    if case.salt not in _MODELS:
        _MODELS.clear()
        state, config = published_state(case, "emage_audio_model"), case.layout("emage_audio_model")["config"]
        _MODELS[case.salt] = transformer_from_published(state, config).model
    return _MODELS[case.salt]


def codec_of(case):
    networks = {part: vqvae_from_published(case.published_state(f"emage_vq_{part}")) for part in PARTS}
    global_motion = global_motion_from_published(case.published_state("emage_vae_global"))
    return EmageMotionCodec(**networks, global_motion=global_motion, matrix_to_axis_angle=emage_matrix_to_axis_angle)


@pytest.mark.case("emage_wav_encoder")
@torch.inference_mode()
def test_wave_encoder(case):
    config, state = case.layout()["config"], published_state(case)
    encoder = WaveEncoder(config["out_dim"], config["audio_in"]).eval()
    encoder.load_state_dict(WAVE_ENCODER.to_ours(state, {k: v.shape for k, v in encoder.state_dict().items()}))
    for given, expected in (("audio_i16", "feat"), ("audio_short_i16", "feat_short")):
        audio = audio_of(case.inputs[given])[:, None]
        features = encoder(audio)
        assert_within(features, case.outputs[expected], 1e-4)
        assert encoder.num_features(audio.shape[-1]) == features.shape[1]
    written = WAVE_ENCODER.to_published(encoder.state_dict())
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)


@pytest.mark.case("emage_audio_forward")
@torch.inference_mode()
def test_window(case):
    model, given, expected = transformer_of(case), case.inputs, case.outputs
    heard, speaker = model.hear(audio_of(given["audio_i16"])), given["speaker_id"][:, 0]
    seeded = torch.ones_like(given["motion"], dtype=torch.bool)
    seeded[:, : model.config.seed_frames] = False
    assert_output(model.complete(heard, given["motion"], seeded, speaker), expected, "")
    for name, use_audio in (("random_noaudio_", False), ("random_audio_", True)):
        output = model.complete(heard, given["motion"], given["mask_random"], speaker, use_audio=use_audio)
        assert_output(output, expected, name)


@pytest.mark.case("emage_audio_forward_short")
@torch.inference_mode()
def test_short_windows(case):
    """A batch of windows with more features than frames."""
    model, given = transformer_of(case), case.inputs
    audio = audio_of(given["audio_i16"])
    assert model.hear(audio).face.shape[1] == int(case.settings["audio_features"])
    assert given["motion"].shape[1] == int(case.settings["frames"])
    output = model(audio, given["motion"], given["mask"], given["speaker_id"][:, 0])
    assert_output(output, case.outputs, "")


def assert_output(output, expected, name):
    for kind, parts in (("rec", output.latents), ("cls", output.logits)):
        for part, value in zip(PARTS, parts, strict=True):
            wanted = expected[f"{name}{kind}_{part}"]
            stride = -(-value.shape[1] // wanted.shape[1])
            assert_within(value[:, ::stride], wanted, 1e-4)


@pytest.mark.case("emage_audio_forward")
def test_written_back_as_it_was(case):
    """All keys, shapes and types of the published file; that values come back is held in tests/hub/convert."""
    written = transformer_to_published(transformer_of(case))
    keys = case.layout("emage_audio_model")["keys"]
    assert {key: (list(x.shape), str(x.dtype)) for key, x in written.items()} == {
        key: (shape, f"torch.{dtype}") for key, shape, dtype, _ in keys
    }


@pytest.mark.case("emage_audio_forward")
def test_sizes_from_shapes(case):
    layout = case.layout("emage_audio_model")
    shapes = {key: torch.empty(shape, device="meta") for key, shape, _, _ in layout["keys"]}
    named, config = layout["config"], transformer_config(shapes, layout["config"])
    assert (config.hidden_dim, config.audio_dim) == (named["hidden_size"], named["audio_f"])
    assert (config.motion_latent_dim, config.motion_dim) == (named["motion_f"], named["pose_dims"] + 7)
    assert (config.num_codes, config.num_speakers) == (named["vae_codebook_size"], named["speaker_dims"])
    assert (config.window_frames, config.seed_frames) == (named["pose_length"], named["seed_frames"])


def joined(parts):
    return EmageParts(*(torch.cat(pieces, dim=1) for pieces in zip(*parts, strict=True)))


@pytest.mark.case("emage_inference", "emage_inference_hints")
@torch.inference_mode()
def test_whole_clip(case):
    generator, given, expected = EmageGenerator(transformer_of(case), codec_of(case)), case.inputs, case.outputs
    audio = audio_of(case.inputs["audio_i16"])
    motion, mask = blank_emage_hints(len(audio), emage_num_frames(audio.shape[1]), like=audio)
    if "masked_motion" in given:
        count = given["masked_motion"].shape[1]
        motion[:, :count], mask[:, :count] = given["masked_motion"], given["mask"] == 1
    speaker = torch.zeros(len(audio), dtype=torch.long)
    windows = list(generator.generate(audio, motion, mask, speaker, strict_upstream=True))

    indices = joined([window.indices for window in windows])
    for part, value in zip(PARTS, indices, strict=True):
        assert torch.equal(value, expected[f"index_{part}"]), part
    stride = int(case.settings["slice"])
    for name in ("latents", "logits"):
        values = joined([getattr(window.output, name) for window in windows])
        for part, value in zip(PARTS, values, strict=True):
            assert_within(value[:, ::stride], expected[f"{'rec' if name == 'latents' else 'cls'}_{part}"], 1e-4)

    decoded = generator.codec.decode(indices)
    translated = generator.codec.translate(decoded, given["ref_trans"])
    assert_within(decoded.expressions, expected["expression"], 1e-5)
    assert_within(translated.translation, expected["trans"], 1e-5)
    assert_within(decoded.features[..., -7:], expected["transfoot"], 1e-5)
    assert_rotations_within(decoded.axis_angle.flatten(-2), expected["motion_axis_angle"])
    assert_rotations_within(decoded.features[:, ::stride, :-7], expected["rot6d"])


def assert_rotations_within(actual, expected):
    assert_within(actual, expected, 1e-3)
    assert ((actual - expected).abs() <= 1e-4).float().mean() >= 0.999


@pytest.mark.case("emage_train_losses")
@torch.inference_mode()
def test_training_losses(case):
    model, codec, given, expected = transformer_of(case), codec_of(case), case.inputs, case.outputs
    rot6d = axis_angle_to_rot6d(given["poses"].reshape(*given["poses"].shape[:2], -1, 3)).flatten(2)
    contact = given["contact"].float()
    parts = split_emage_motion(rot6d, given["expressions"], given["trans"], contact)
    indices, codes = codec.encode(parts), codec.encode_codes(parts)
    for part, value in zip(PARTS, indices, strict=True):
        assert torch.equal(value, expected[f"index_{part}"]), part

    weights = json.loads(case.settings["weights"])
    latent_weights, code_weights = ({part: weights[kind + part[0]] for part in PARTS} for kind in "lc")
    motion = torch.cat([rot6d, given["trans"], contact], dim=-1)
    seeded = torch.ones_like(motion)
    seeded[:, : model.config.seed_frames] = 0
    heard = model.hear(audio_of(given["audio_i16"]))
    speaker = torch.zeros(len(motion), dtype=torch.long)
    total = 0
    passes = {"seed": (seeded, True), "audio": (given["mask_random"], True), "mask": (given["mask_random"], False)}
    for name, (mask, use_audio) in passes.items():
        output = model.complete(heard, motion, mask, speaker, use_audio=use_audio)
        latent_loss = part_latent_loss(output.latents._asdict(), codes._asdict(), latent_weights)
        code_loss = part_code_loss(output.logits._asdict(), indices._asdict(), code_weights)
        torch.testing.assert_close(latent_loss, expected[f"rec_{name}"], rtol=1e-4, atol=0)
        torch.testing.assert_close(code_loss, expected[f"cls_{name}"], rtol=1e-4, atol=0)
        total = total + latent_loss + code_loss
    torch.testing.assert_close(total, expected["all"], rtol=1e-4, atol=0)
