"""Speech features of a small WavLM, and the whole published test on two files, from audio to the npz arrays."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.audio import SpeechEncoder, normalize_waveform
from cospeech.hub.convert.globaldiff import (
    denoiser_config,
    denoiser_from_published,
    speech_model_config,
    speech_model_from_published,
)
from cospeech.nn import inverse_frequencies
from cospeech.pipelines.globaldiff_published import PublishedGlobalDiff
from cospeech.rotations import axis_angle_to_matrix

transformers = pytest.importorskip("transformers", reason="needs the extra 'speech'")


def waveform(samples):
    return samples.float() / 32768


def encoder_of(case, layout="globaldiff_audio_features"):
    config = case.layout(layout)["config"]
    network = transformers.WavLMModel(transformers.WavLMConfig(**config["wavlm"]))
    network.load_state_dict(case.published_state(layout))
    extractor = config["feature_extractor"]
    return SpeechEncoder(network, normalizes=extractor["do_normalize"], rate_hz=extractor["sampling_rate"])


@pytest.mark.case("globaldiff_audio_features")
def test_features(case):
    encoder, samples, expected = encoder_of(case), waveform(case.inputs["audio_i16"]), case.outputs
    num_windows, num_frames, kept = expected["features"].shape
    windows = samples.unfold(0, 32_000, 27_734)[:num_windows]
    head = expected["normalized_head"]
    torch.testing.assert_close(normalize_waveform(windows)[0, : len(head)], head, rtol=0, atol=1e-4)
    features = encoder(windows)
    assert features.shape == (num_windows, num_frames, encoder.feature_dim)
    every = -(-encoder.feature_dim // kept)
    torch.testing.assert_close(features[..., ::every], expected["features"], rtol=0, atol=1e-4)


def networks_of(case):
    loaded = {}
    for name, layout in json.loads(case.settings["modules"]).items():
        if name != "wavlm":
            form = case.layout(layout)
            keep = {
                key: inverse_frequencies(2 * shape[0]) for key, shape, _, _ in form["keys"] if key.endswith("inv_freq")
            }
            loaded[name] = case.published_state(layout, keep=keep), form["config"]
    state, named = loaded["net"]
    config = denoiser_config(state, num_heads=named["heads"], num_seed_frames=named["n_seed"])
    denoiser = denoiser_from_published(state, config)
    state, named = loaded["speech"]
    return denoiser, speech_model_from_published(state, speech_model_config(state, num_heads=named["heads"]))


@pytest.mark.case("globaldiff_e2e_audio")
def test_whole_test_program(case):
    given, expected = case.inputs, case.outputs
    encoder = encoder_of(case, json.loads(case.settings["modules"])["wavlm"])
    program = PublishedGlobalDiff(*networks_of(case), encoder)
    num_files = len(given["pid"])
    motions = program(
        [waveform(given[f"audio_i16_{i}"]) for i in range(num_files)],
        seed_poses=[given[f"seed_axis_angle_{i}"].unflatten(-1, (-1, 3)) for i in range(num_files)],
        seed_translations=[given[f"seed_trans_{i}"] for i in range(num_files)],
        speakers=given["pid"].tolist(),
        noises=given["noise"],
    )
    for i, motion in enumerate(motions):
        poses, translation, expressions = (expected[f"{name}_{i}"] for name in ("poses", "trans", "expressions"))
        torch.testing.assert_close(motion.translation, translation, rtol=0, atol=1e-3)
        every = -(-motion.num_frames // len(expressions))
        torch.testing.assert_close(motion.expressions[::every], expressions, rtol=0, atol=1e-3)
        every = -(-motion.num_frames // len(poses))
        ours, theirs = motion.local_axis_angle[::every], poses.unflatten(-1, (-1, 3))
        assert ours.shape == theirs.shape
        # Where the published logarithm is steep (see its page) only matrices can be compared.
        smooth = theirs.norm(dim=-1) < 3.0
        torch.testing.assert_close(ours[smooth], theirs[smooth], rtol=0, atol=2e-3)
        difference = axis_angle_to_matrix(ours) - axis_angle_to_matrix(theirs)
        assert difference.abs().max() < 2e-2
