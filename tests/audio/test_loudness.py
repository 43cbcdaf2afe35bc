"""Loudness and amplitude envelopes."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from cospeech.audio import amplitude_envelope, loudness_decibel


def test_loudness_is_librosas_rms(speech_16k: Tensor) -> None:
    ours = loudness_decibel(speech_16k, window_samples=800, hop_samples=200)
    rms = librosa.feature.rms(y=speech_16k.numpy(), frame_length=800, hop_length=200, pad_mode="constant")[0]
    np.testing.assert_allclose(10 ** (ours / 10), rms**2 + 1e-10, rtol=1e-4, atol=1e-9)


def test_silence_has_the_floor_and_gradients() -> None:
    silence = torch.zeros(2, 1000, requires_grad=True)
    level = loudness_decibel(silence, floor_decibel=-60)
    assert level.shape == (2, 2)
    torch.testing.assert_close(level, torch.full_like(level, -60))
    level.sum().backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()
    assert loudness_decibel(torch.ones(1)).shape == (1,)
    with pytest.raises(ValueError, match="one sample at least"):
        loudness_decibel(torch.zeros(0))


@pytest.mark.parametrize("length", [1, 5, 50])
def test_envelope_twin(length: int) -> None:
    waveform = torch.randn(2, length, generator=torch.Generator().manual_seed(0))
    slow = [[row[k : k + 7].abs().max().item() for k in range(length)] for row in waveform]
    torch.testing.assert_close(amplitude_envelope(waveform, window_samples=7), torch.tensor(slow))
