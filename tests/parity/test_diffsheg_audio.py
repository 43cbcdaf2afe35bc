"""What DiffSHEG hears against the published program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cospeech.audio import load_audio, mel_spectrogram, resample
from cospeech.audio.diffsheg import KAISER_BEST, diffsheg_mel, encode_in_chunks, stretch_frames

DATA = Path(os.environ.get("COSPEECH_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def assert_near(actual, expected, share):
    torch.testing.assert_close(actual, expected, rtol=0, atol=share * expected.abs().max().item())


@pytest.mark.case("diffsheg_mel")
def test_mel(case):
    given, expected = case.inputs, case.outputs
    rate_hz, hop = float(case.settings["sr"]), int(case.settings["hop"])
    alone = mel_spectrogram(given["wave18k"], rate_hz=rate_hz, hop_samples=hop, num_bands=int(case.settings["n_mels"]))
    assert_near(alone, expected["mel_from_wave18k"], 1e-5)
    assert_near(diffsheg_mel(given["wave18k"], rate_hz), expected["mel_from_wave18k"][:-1], 1e-5)


@pytest.mark.case("diffsheg_mel")
@pytest.mark.parametrize(("name", "sinc"), [("soxr_hq", None), ("kaiser_best", KAISER_BEST)])
def test_mel_of_a_recording(case, name, sinc):
    given, expected = case.inputs["wave16k"], case.outputs
    assert_near(diffsheg_mel(given, 16000, sinc=sinc), expected[f"mel_{name}"], 1e-4)
    as_read = resample(given, 16000, 22050, sinc=sinc)
    assert_near(diffsheg_mel(as_read, 22050, sinc=sinc), expected[f"mel_via22k_{name}"], 1e-4)
    head = expected[f"wave18k_{name}_head"][3:]  # SoX takes another view of what lies before the first sample
    assert_near(resample(given, 16000, 18000, sinc=sinc)[3 : 3 + len(head)], head, 1e-5)


@pytest.mark.case("diffsheg_mel")
def test_mel_of_a_training_clip(case):
    expected, clip = case.outputs["mel_train_clip"], case.inputs["wave16k"][:36266]
    assert_near(diffsheg_mel(clip, 16000)[: len(expected)], expected, 1e-4)


@pytest.mark.case("diffsheg_hubert_chunking")
def test_chunks(case):
    """A convolution stands in for the network, of the kernel and stride that it has in all."""
    path = DATA / "2_scott_0_1_1_test.wav"
    if not path.is_file():
        pytest.skip(f"no recording {path}; set COSPEECH_DATA to its folder")
    wave = load_audio(path, 16000)
    weight, bias = case.fill("stub.conv.weight", (16, 1, 400)), case.fill("stub.conv.bias", (16,))

    def network(x):
        return F.conv1d(x[:, None], weight, bias, stride=320).mT

    for i in range(sum(name.endswith("_len") for name in case.outputs)):
        num_samples, num_features = case.outputs[f"feat{i}_len"].tolist()
        features = encode_in_chunks(network, wave.repeat(2)[:num_samples])
        middle = num_features // 2 - 2
        assert len(features) == num_features
        assert_near(features[:3], case.outputs[f"feat{i}_first"], 1e-5)
        assert_near(features[middle : middle + 4], case.outputs[f"feat{i}_mid"], 1e-5)
        assert_near(features[-4:], case.outputs[f"feat{i}_last"], 1e-5)
        stretched = case.outputs.get(f"feat{i}_interp")
        if stretched is not None:
            assert_near(stretch_frames(features, stretched.shape[1]), stretched[0], 1e-5)
