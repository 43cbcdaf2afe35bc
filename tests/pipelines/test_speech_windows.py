from __future__ import annotations

import math
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.audio import frames_to_samples
from cospeech.pipelines.speech_windows import WindowClock
from cospeech.samplers import count_windows

CLOCK = WindowClock(rate_hz=16000, frame_rate_hz=30, window_frames=60, overlap_frames=8)


@settings(deadline=None, max_examples=60)
@given(num_samples=st.integers(1, 200_000), cuts=st.lists(st.integers(0, 200_000), max_size=4))
def test_any_cutting_gives_the_same_windows_and_they_cover_the_clip(num_samples: int, cuts: list[int]) -> None:
    speech = torch.arange(1, num_samples + 1, dtype=torch.float32)
    edges = sorted({0, num_samples, *(cut for cut in cuts if cut < num_samples)})
    blocks = [speech[a:b] for a, b in pairwise(edges)]
    windows = list(CLOCK.windows(blocks))

    num_frames = math.ceil(num_samples * 30 / 16000)
    assert len(windows) == count_windows(num_frames, 60, 8)
    assert [window.num_frames for window in windows[:-1]] == [60] * (len(windows) - 1)
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]
    assert 52 * (len(windows) - 1) + windows[-1].num_frames == num_frames
    for number, window in enumerate(windows):
        start = frames_to_samples(52 * number, rate_hz=16000, frame_rate_hz=30)
        expected = torch.zeros(32000)
        there = speech[start : start + 32000]
        expected[: len(there)] = there
        assert torch.equal(window.samples, expected)


def test_windows_do_not_drift_in_an_hour() -> None:
    last = 2076 * 52  # first frame of the last window of an hour
    start = frames_to_samples(last, rate_hz=16000, frame_rate_hz=30)
    assert abs(start - last * 16000 / 30) < 1


def test_a_window_goes_out_as_soon_as_the_next_one_is_certain() -> None:
    given_so_far = []

    def blocks():
        for block in torch.ones(40, 1000):
            given_so_far.append(len(block))
            yield block

    windows = CLOCK.windows(blocks())
    next(windows)
    assert sum(given_so_far) == 33_000  # the first block boundary behind the window's 32,000 samples


def test_no_sample_is_one_silent_window_of_one_frame() -> None:
    (window,) = CLOCK.windows([])
    assert window.num_frames == 1
    assert not window.samples.any()
