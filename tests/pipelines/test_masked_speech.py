"""Speech is cut as the plan for its length says, though the length is not known while it is cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.models import emage_num_frames
from cospeech.pipelines.masked_speech import MaskedClock
from cospeech.samplers import plan_masked_windows


def cut(num_samples: int, cuts: list[int], *, strict: bool):
    samples = torch.arange(1, num_samples + 1, dtype=torch.float32)
    clock = MaskedClock(20, 4, strict)
    return clock, samples, list(clock.windows(samples.tensor_split(cuts)))


@settings(deadline=None, max_examples=60)
@given(st.integers(4800, 60000), st.lists(st.integers(0, 60000), max_size=4))
def test_published_plan(num_samples, cuts):
    clock, samples, windows = cut(num_samples, sorted(cuts), strict=True)
    plan = plan_masked_windows(emage_num_frames(num_samples), 20, 4, strict_upstream=True)
    assert [tuple(window[1:]) for window in windows] == [tuple(window) for window in plan]
    assert clock.num_frames(num_samples) == sum(window.num_kept for window in plan)
    for window in windows:
        assert torch.equal(window.samples, samples[533 * window.start :][: 533 * window.num_frames])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60000), st.lists(st.integers(0, 60000), max_size=4))
def test_kept_frames_cover_the_speech(num_samples, cuts):
    clock, samples, windows = cut(num_samples, sorted(cuts), strict=False)
    kept = [frame for window in windows for frame in range(window.start, window.start + window.num_kept)]
    assert kept == list(range(clock.num_frames(num_samples)))
    assert len(kept) == -(-num_samples * 30 // 16000)
    for window in windows:
        heard = samples[533 * window.start :][: 533 * window.num_frames]
        assert torch.equal(window.samples[: len(heard)], heard)
        assert not window.samples[len(heard) :].any()
        assert len(window.samples) == 533 * window.num_frames
        assert 5 <= window.num_frames <= 20


def test_too_short_for_the_published_program():
    with pytest.raises(ValueError, match="`num_frames` must be at least 9; got 8"):
        MaskedClock(20, 4, True).num_frames(4799)
