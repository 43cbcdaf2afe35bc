"""Laws of motion beats and beat consistency."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.metrics import beat_consistency, bootstrap_mean_interval, motion_beats, onset_peaks


def strokes(ends: list[float], seconds: float = 6.0, rate_hz: float = 30.0) -> torch.Tensor:
    """A point that moves along x by minimum-jerk strokes of 0.3 s."""
    time = torch.arange(int(seconds * rate_hz)) / rate_hz
    x = torch.zeros_like(time)
    for number, end in enumerate(ends):
        progress = ((time - end + 0.3) / 0.3).clamp(0, 1)
        x += (-1) ** number * 0.2 * progress**3 * (10 - 15 * progress + 6 * progress**2)
    return torch.stack([x, 0 * x, 0 * x], -1)[:, None]


def test_beats_are_where_strokes_end() -> None:
    ends = [1.0, 2.2, 3.1, 4.5]
    beats = motion_beats(strokes(ends), 30.0)
    assert len(beats) == 4
    assert (beats - torch.tensor(ends)).abs().max() < 0.15  # smoothing and the hold blur the very end


def test_stillness_and_slow_drift_have_no_beats() -> None:
    drift = torch.linspace(0, 1, 200)[:, None, None].expand(200, 2, 3)
    assert len(motion_beats(torch.zeros(200, 2, 3), 30.0)) == 0
    assert len(motion_beats(drift, 30.0)) == 0
    assert len(motion_beats(torch.zeros(2, 2, 3), 30.0)) == 0


def test_beats_move_with_the_motion_and_not_with_the_place() -> None:
    early, late = motion_beats(strokes([1.0, 2.0]), 30.0), motion_beats(strokes([1.5, 2.5]), 30.0)
    assert torch.allclose(early + 0.5, late, atol=1e-5)
    assert torch.equal(motion_beats(strokes([1.0, 2.0]) + 3.0, 30.0), early)


def test_shape_is_checked() -> None:
    with pytest.raises(ValueError, match="positions"):
        motion_beats(torch.zeros(10, 3), 30.0)


times = st.lists(st.floats(0, 10), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(beats=times, references=times, sigma=st.floats(0.05, 0.5))
def test_consistency_equals_the_slow_twin(beats: list[float], references: list[float], sigma: float) -> None:
    total = 0.0
    for beat in beats:
        nearest = min(abs(beat - reference) for reference in references)
        total += math.exp(-(nearest**2) / (2 * sigma**2))
    fast = beat_consistency(torch.tensor(beats).double(), torch.tensor(references).double(), sigma_seconds=sigma)
    assert float(fast) == pytest.approx(total / len(beats), abs=1e-5)


def test_consistency_is_one_on_itself_and_zero_on_nothing() -> None:
    beats = torch.tensor([0.3, 1.0, 4.0])
    assert beat_consistency(beats, beats) == 1
    assert beat_consistency(beats, torch.zeros(0)) == 0
    assert beat_consistency(torch.zeros(0), beats) == 0


def test_onset_peaks_keep_the_stronger_of_two_neighbours() -> None:
    strength = torch.zeros(300)
    strength[[50, 60, 150, 250]] = torch.tensor([1.0, 3.0, 2.0, 0.1])
    strength[100:110] = 0.8  # so that the percentile has something to stand on
    peaks = onset_peaks(strength, 0.01)
    assert pytest.approx(float(peaks[0])) == 0.6
    assert 1.5 in [pytest.approx(float(peak)) for peak in peaks]
    assert all(abs(float(peak) - 0.5) > 1e-6 for peak in peaks)
    assert len(onset_peaks(torch.zeros(100), 0.01)) == 0


def test_bootstrap_interval_holds_the_mean_and_shrinks() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, generator=generator) + 2
    low, high = bootstrap_mean_interval(values, generator=generator)
    assert low < float(values.mean()) < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    few_low, few_high = bootstrap_mean_interval(values[:25], generator=generator)
    assert few_high - few_low > 2 * (high - low)
