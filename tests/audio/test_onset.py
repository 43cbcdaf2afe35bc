"""Onsets against librosa."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cospeech.audio import detect_onsets, onset_strength, pick_peaks, resample


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize("hop", [512, 160])
def test_onsets_are_librosas(speech_16k: Tensor, rate: int, hop: int) -> None:
    speech = resample(speech_16k, 16000, rate)
    strength = librosa.onset.onset_strength(y=speech.numpy(), sr=rate, hop_length=hop)
    np.testing.assert_allclose(onset_strength(speech, rate_hz=rate, hop_samples=hop), strength, atol=1e-3)
    onsets = librosa.onset.onset_detect(y=speech.numpy(), sr=rate, hop_length=hop)
    assert detect_onsets(speech, rate_hz=rate, hop_samples=hop).tolist() == onsets.tolist()
    assert len(onsets) > 10


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.integers(0, 4), st.integers(1, 4), st.integers(0, 4), st.integers(1, 4), st.integers(0, 4),
)  # fmt: skip
def test_peaks_are_librosas(
    values: list[int], pre_max: int, post_max: int, pre_mean: int, post_mean: int, rest: int
) -> None:
    x = np.array(values, np.float64)
    theirs = librosa.util.peak_pick(
        x, pre_max=pre_max, post_max=post_max, pre_avg=pre_mean, post_avg=post_mean, delta=0.51, wait=rest
    )
    ours = pick_peaks(
        torch.from_numpy(x),
        max_frames=(pre_max, post_max),
        mean_frames=(pre_mean, post_mean),
        threshold=0.51,
        rest_frames=rest,
    )
    assert ours.tolist() == theirs.tolist()


def test_silence_has_no_onsets_and_a_click_has_two() -> None:
    silence = torch.zeros(16000)
    assert detect_onsets(silence, rate_hz=16000).tolist() == []
    assert onset_strength(silence, rate_hz=16000).tolist() == [0.0] * 32
    assert detect_onsets(torch.ones(1), rate_hz=16000).tolist() == []
    silence[8000] = 0.5
    assert detect_onsets(silence, rate_hz=16000).tolist() == [16, 17]  # librosa's too: nothing forbids neighbours


def test_clips_of_a_batch_do_not_see_each_other(speech_16k: Tensor) -> None:
    batch = speech_16k[:64000].reshape(2, 32000) * torch.tensor([[1.0], [1e-3]])
    torch.testing.assert_close(onset_strength(batch, rate_hz=16000)[1], onset_strength(batch[1], rate_hz=16000))


def test_onsets_are_of_one_clip() -> None:
    with pytest.raises(ValueError, match=r"`waveform` must have shape \(S,\); got \(2, 100\)"):
        detect_onsets(torch.zeros(2, 100), rate_hz=16000)
