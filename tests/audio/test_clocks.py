"""Samples, frames, seconds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.audio import (
    frames_to_samples,
    frames_to_seconds,
    samples_to_frames,
    samples_to_frames_covering,
    samples_to_seconds,
    seconds_to_frames,
    seconds_to_samples,
)
from cospeech.audio.clocks import rate_ratio

RATES = st.sampled_from([8000, 16000, 18000, 22050, 44100, 48000])
FRAME_RATES = st.sampled_from([15, 20, 25, 30, 29.97, 30000 / 1001, 59.94, 60, 120.0])
laws = settings(max_examples=100, deadline=None)


def test_the_published_windows_start_where_we_start_them() -> None:
    """GlobalDiff cuts windows of 60 frames every 20: audio from (20 i) * 16000 // 30."""
    for index in range(200):
        assert frames_to_samples(20 * index, rate_hz=16000, frame_rate_hz=30) == (20 * index) * 16000 // 30


@laws
@given(st.integers(0, 10**7), RATES, FRAME_RATES)
def test_frames_survive_the_way_over_samples(frames: int, rate: int, frame_rate: float) -> None:
    rates = {"rate_hz": rate, "frame_rate_hz": frame_rate}
    samples = frames_to_samples(frames, **rates)
    assert samples_to_frames(samples, **rates) == frames
    assert samples_to_frames_covering(samples, **rates) == frames


@laws
@given(st.integers(0, 10**9), RATES, FRAME_RATES)
def test_whole_and_covering_frames_enclose_the_samples(samples: int, rate: int, frame_rate: float) -> None:
    rates = {"rate_hz": rate, "frame_rate_hz": frame_rate}
    whole, covering = samples_to_frames(samples, **rates), samples_to_frames_covering(samples, **rates)
    assert whole <= covering <= whole + 1
    assert frames_to_samples(whole, **rates) <= samples < frames_to_samples(whole + 1, **rates)
    assert frames_to_samples(covering, **rates) >= samples
    assert covering == 0 or frames_to_samples(covering - 1, **rates) < samples


@laws
@given(st.integers(0, 10**9), RATES)
def test_samples_survive_the_way_over_seconds(samples: int, rate: int) -> None:
    assert seconds_to_samples(samples_to_seconds(samples, rate), rate) == samples
    assert seconds_to_frames(frames_to_seconds(samples, 29.97), 29.97) == samples


def test_a_float_rate_means_the_simple_fraction_near_it() -> None:
    assert rate_ratio(29.97, 1) == Fraction(2997, 100)
    assert rate_ratio(30000 / 1001, 1) == Fraction(30000, 1001)
    assert rate_ratio(16000.0, 30.0) == Fraction(1600, 3)
    assert rate_ratio(1e-7, 1) == Fraction(1e-7)


def test_half_a_sample_counts_as_one() -> None:
    assert [seconds_to_samples(seconds, 10) for seconds in (0, 0.04, 0.05, 0.14, 0.15000001)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("rate", [0, -30, float("nan"), float("inf")])
def test_a_rate_must_be_positive(rate: float) -> None:
    with pytest.raises(ValueError, match="A rate must be a positive number of hertz; got"):
        seconds_to_samples(1, rate)
    with pytest.raises(ValueError, match="A rate must be"):
        frames_to_samples(1, rate_hz=16000, frame_rate_hz=rate)
