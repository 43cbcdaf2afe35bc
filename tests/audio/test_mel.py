"""Mel spectrograms against librosa."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from cospeech.audio import hertz_to_mel, mel_filter_bank, mel_spectrogram, mel_to_hertz, power_to_decibel


@pytest.fixture
def speech(speech_16k: Tensor) -> Tensor:
    return speech_16k[:48000]


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_scales_are_librosas_and_have_inverses(scale: Any) -> None:
    hertz = torch.linspace(0, 12000, 501, dtype=torch.float64)
    mel = hertz_to_mel(hertz, scale=scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hertz.numpy(), htk=scale == "htk"), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mel_to_hertz(mel, scale=scale), hertz, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.parametrize(("low", "high"), [(0, None), (60, 7600)])
def test_bank_is_librosas(scale: Any, norm: Any, low: float, high: float | None) -> None:
    ours = mel_filter_bank(40, window_samples=1024, rate_hz=16000, low_hz=low, high_hz=high, scale=scale, norm=norm)
    theirs = librosa.filters.mel(
        sr=16000, n_fft=1024, n_mels=40, fmin=low, fmax=high, htk=scale == "htk",
        norm=None if norm == "none" else norm, dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(ours, theirs.T, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"window_samples": 400, "hop_samples": 160, "num_bands": 80}, {"n_fft": 400, "hop_length": 160, "n_mels": 80}),
        ({"scale": "htk", "norm": "none", "num_bands": 23}, {"htk": True, "norm": None, "n_mels": 23}),
        ({"power": 1.0}, {"power": 1.0}),
        ({"padding": "reflect"}, {"pad_mode": "reflect"}),
        ({"low_hz": 100, "high_hz": 4000, "num_bands": 7}, {"fmin": 100, "fmax": 4000, "n_mels": 7}),
        ({"window_samples": 255, "hop_samples": 100, "num_bands": 5}, {"n_fft": 255, "hop_length": 100, "n_mels": 5}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spectrogram_is_librosas(speech: Tensor, ours: Any, theirs: Any, dtype: torch.dtype) -> None:
    mine = mel_spectrogram(speech.to(dtype), rate_hz=16000, **ours).T
    # librosa keeps its filter bank in float32 unless told otherwise.
    exact = {} if dtype == torch.float32 else {"dtype": np.float64}
    reference = librosa.feature.melspectrogram(y=speech.to(dtype).numpy(), sr=16000, **theirs, **exact)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(mine, reference, atol=tolerance * reference.max(), rtol=tolerance)


def test_decibels_are_librosas(speech: Tensor) -> None:
    power = mel_spectrogram(speech, rate_hz=16000)
    np.testing.assert_allclose(power_to_decibel(power), librosa.power_to_db(power.numpy()), atol=1e-4)
    np.testing.assert_allclose(
        power_to_decibel(power, range_decibel=None), librosa.power_to_db(power.numpy(), top_db=None), atol=1e-4
    )


def test_each_clip_of_a_batch_has_its_own_range(speech: Tensor) -> None:
    power = mel_spectrogram(torch.stack([speech, speech * 1e-3]), rate_hz=16000)
    decibel = power_to_decibel(power)
    torch.testing.assert_close(decibel[1], power_to_decibel(power[1]))


def test_leading_axes_and_one_sample(speech: Tensor) -> None:
    batch = speech.reshape(2, 3, 8000)
    mel = mel_spectrogram(batch, rate_hz=16000)
    assert mel.shape == (2, 3, 16, 128)
    torch.testing.assert_close(mel[1, 2], mel_spectrogram(batch[1, 2], rate_hz=16000))
    assert mel_spectrogram(torch.ones(1), rate_hz=16000).shape == (1, 128)
    assert mel_spectrogram(torch.zeros(100), rate_hz=16000).eq(0).all()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_gradients(power: float) -> None:
    waveform = torch.randn(80, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def spectrogram(x: Tensor) -> Tensor:
        return mel_spectrogram(x, rate_hz=100, window_samples=32, hop_samples=16, num_bands=4, power=power)

    with torch.inference_mode():
        spectrogram(waveform)  # fills the table that the next call uses
    assert torch.autograd.gradcheck(spectrogram, waveform.requires_grad_())
    silence = torch.zeros(80, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(spectrogram(silence).sum(), silence)
    assert gradient.isfinite().all()


def test_errors() -> None:
    with pytest.raises(ValueError, match="`waveform` must hold 1 samples at least; got 0"):
        mel_spectrogram(torch.zeros(0), rate_hz=16000)
    with pytest.raises(ValueError, match="`waveform` must hold 1025 samples at least; got 1024"):
        mel_spectrogram(torch.zeros(1024), rate_hz=16000, padding="reflect")
    with pytest.raises(ValueError, match="Unknown scale 'bark'; choose from slaney, htk"):
        hertz_to_mel(torch.ones(1), scale="bark")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unknown norm 'l2'; choose from slaney, none"):
        mel_filter_bank(4, window_samples=64, rate_hz=16000, norm="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`low_hz` must lie in"):
        mel_filter_bank(4, window_samples=64, rate_hz=16000, low_hz=9000)
