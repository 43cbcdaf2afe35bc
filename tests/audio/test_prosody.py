"""Prosody features: laws, and what they are to hear."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cospeech.audio import ProsodyConfig, ProsodyFeatures, resample

FEATURES = ProsodyFeatures()
NAMES = FEATURES.feature_names


def channel(features: Tensor, name: str) -> Tensor:
    return features[..., NAMES.index(name)]


@pytest.fixture
def windows(speech_16k: Tensor) -> Tensor:
    return speech_16k.unfold(0, 32000, 27734)


def tone(hertz: float, num_samples: int = 32000) -> Tensor:
    """A voice: harmonics that fall by 6 dB per octave."""
    phase = 2 * torch.pi * hertz * torch.arange(num_samples, dtype=torch.float64) / 16000
    return sum((torch.sin(k * phase) / k for k in range(1, 20)), torch.zeros(())).float() * 0.1


def test_shape_names_and_range(windows: Tensor) -> None:
    features = FEATURES(windows)
    assert features.shape == (len(windows), 60, FEATURES.feature_dim) == (5, 60, 30)
    assert len(set(NAMES)) == FEATURES.feature_dim
    assert (FEATURES.rate_hz, FEATURES.frame_rate_hz) == (16000, 30)
    assert features.abs().max() < 4
    # About unit range: no channel is dead, none drowns the others.
    assert ((features.std((0, 1)) > 0.1) & (features.std((0, 1)) < 1)).all()
    assert not FEATURES.state_dict()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40000), st.integers(0, 3))
def test_any_length_gives_finite_features(num_samples: int, seed: int) -> None:
    noise = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))
    features = FEATURES(noise)
    assert features.shape == (max(1, (num_samples * 30 + 8000) // 16000), 30)
    assert features.isfinite().all()


def test_windows_do_not_see_each_other_nor_their_order(windows: Tensor) -> None:
    together = FEATURES(windows.reshape(5, 1, 32000))
    assert together.shape == (5, 1, 60, 30)
    for window, features in zip(windows, together, strict=True):
        torch.testing.assert_close(FEATURES(window), features[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.3, -1.0])
@pytest.mark.parametrize("num_samples", [1, 100, 533, 32000])
def test_silence_and_offset_are_constant(level: float, num_samples: int) -> None:
    features = FEATURES(torch.full((num_samples,), level))
    assert features.isfinite().all()
    torch.testing.assert_close(features, FEATURES(torch.zeros(num_samples)), atol=2e-3, rtol=0)
    torch.testing.assert_close(features, features[:1].expand_as(features), atol=2e-3, rtol=0)
    assert channel(features, "voicing").max() < 1e-3


def test_recording_gain_and_offset_change_nothing(windows: Tensor) -> None:
    features = FEATURES(windows)
    torch.testing.assert_close(FEATURES(windows * 4), features, atol=0.01, rtol=0)
    torch.testing.assert_close(FEATURES(windows / 4), features, atol=0.05, rtol=0)
    torch.testing.assert_close(FEATURES(windows + 0.2), features, atol=0.01, rtol=0)
    # But what is not audible is not blown up to speech.
    faint = FEATURES(windows * 1e-4)
    assert channel(faint, "level").max() < -0.5
    assert channel(faint, "onset").max() < channel(features, "onset").max() / 3


@pytest.mark.parametrize("hertz", [65.0, 100.0, 150.0, 220.0, 300.0, 380.0])
def test_pitch_of_a_voice(hertz: float) -> None:
    features = FEATURES(tone(hertz))
    torch.testing.assert_close(channel(features, "pitch"), torch.full((60,), np.log2(hertz / 150)), atol=0.02, rtol=0)
    assert channel(features, "voicing").min() > 0.85
    assert channel(features, "relative pitch").abs().max() < 0.02


def test_pitch_twin_librosa(speech_16k: Tensor) -> None:
    """Probabilistic YIN, much slower, on the same moments: nearly all voiced frames within a semitone."""
    windows = speech_16k[: 5 * 32000].reshape(5, 32000)
    hertz, voiced, _ = librosa.pyin(speech_16k.numpy(), fmin=60, fmax=400, sr=16000, frame_length=1024, hop_length=160)
    moments = np.round((np.arange(300) + 0.5) / 30 * 100).astype(int)
    features = FEATURES(windows).reshape(300, -1)
    both = voiced[moments] & (channel(features, "voicing").numpy() > 0.55)
    assert both.sum() > 0.8 * voiced[moments].sum()
    semitones = 12 * (channel(features, "pitch").numpy()[both] - np.log2(hertz[moments][both] / 150))
    assert np.mean(np.abs(semitones) < 1) > 0.9


def test_noise_is_not_voiced() -> None:
    noise = torch.randn(4, 32000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert channel(FEATURES(noise), "voicing").mean() < 0.35


@pytest.mark.parametrize("frame", [5, 20, 59])
def test_a_sound_is_heard_at_its_frame(frame: int) -> None:
    window = torch.randn(32000, generator=torch.Generator().manual_seed(0)) * 1e-3
    start = frame * 16000 // 30
    window[start : start + 533] += 0.3 * torch.randn(533, generator=torch.Generator().manual_seed(1))
    features = FEATURES(window)
    assert channel(features, "level").argmax() == frame
    assert abs(int(channel(features, "onset").argmax()) - frame) <= 1
    assert channel(features, "change")[frame - 1] > 0.5


def test_the_edges_of_a_window_are_no_onsets() -> None:
    features = FEATURES(tone(150.0))
    assert channel(features, "onset").max() < 0.05
    torch.testing.assert_close(channel(features, "level"), channel(features, "level")[:1].expand(60), atol=0.02, rtol=0)


def test_other_rates_and_sizes(speech_16k: Tensor) -> None:
    config = ProsodyConfig(rate_hz=22050, frame_rate_hz=15, num_bands=8)
    features = ProsodyFeatures(config)
    assert features.feature_dim == 14
    theirs = features(resample(speech_16k[:32000], 16000, 22050))
    assert theirs.shape == (30, 14)
    ours = FEATURES(speech_16k[:32000])
    power = 10 ** (2 * channel(ours, "level")).reshape(30, 2).mean(1)  # 20 dB to a unit
    assert torch.corrcoef(torch.stack([power, 10 ** (2 * theirs[:, 8])]))[0, 1] > 0.95


def test_precision_follows_the_input(windows: Tensor) -> None:
    single = FEATURES(windows[0])
    double = FEATURES(windows[0].double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-3, rtol=0)
    half = FEATURES(windows[0].bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_gradients_are_finite(windows: Tensor, scale: float) -> None:
    with torch.inference_mode():
        FEATURES(windows)  # fills the table that the next call uses
    waveform = (windows[:2] * scale).requires_grad_()
    FEATURES(waveform).square().sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


def test_gradient_is_right() -> None:
    config = ProsodyConfig(rate_hz=1000, num_bands=3, high_hz=480, pitch_seconds=0.05, lowest_pitch_hz=60, octaves=2)
    waveform = torch.randn(70, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(ProsodyFeatures(config), waveform.requires_grad_())


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="`waveform` must hold one sample at least"):
        FEATURES(torch.zeros(2, 0))
