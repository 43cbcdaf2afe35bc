from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.samplers import plan_masked_windows, seed_masked_window

SIZES = st.integers(1, 9).flatmap(lambda seed: st.tuples(st.integers(seed + 1, 70), st.just(seed)))


@settings(deadline=None)
@given(st.integers(2, 500), SIZES)
def test_kept_frames_make_the_clip(num_frames, sizes):
    window_frames, seed_frames = sizes
    if num_frames <= seed_frames:
        return
    plan = plan_masked_windows(num_frames, window_frames, seed_frames)
    kept = [frame for window in plan for frame in range(window.start, window.start + window.num_kept)]
    assert kept == list(range(num_frames))
    assert all(window.start + window.num_frames <= num_frames for window in plan)
    assert all(window.num_kept <= window.num_frames <= window_frames for window in plan)
    for before, after in pairwise(plan):  # a seed begins where the window before ends less the seed
        assert after.start == before.start + before.num_frames - seed_frames


@pytest.mark.parametrize(
    ("num_frames", "num_out", "lengths"),
    [
        (9, 9, [9]),
        (30, 30, [30]),
        (64, 60, [64]),
        (68, 60, [64]),
        (73, 73, [64, 13]),
        (90, 90, [64, 30]),
        (150, 150, [64, 64, 30]),
        (240, 240, [64, 64, 64, 60]),
        (1922, 1922, [64] * 31 + [62]),
    ],
)
def test_published_table(num_frames, num_out, lengths):
    plan = plan_masked_windows(num_frames, 64, 4, strict_upstream=True)
    assert [window.num_frames for window in plan] == lengths
    assert sum(window.num_kept for window in plan) == num_out


@settings(deadline=None, max_examples=50)
@given(st.integers(9, 400))
def test_full_length_begins_as_published(num_frames):
    published = plan_masked_windows(num_frames, 64, 4, strict_upstream=True)
    ours = plan_masked_windows(num_frames, 64, 4)
    assert [window[:2] for window in ours[: len(published)]] == [window[:2] for window in published]
    assert all(a.num_kept >= b.num_kept for a, b in zip(ours, published, strict=False))


def test_seed_fills_what_is_hidden():
    motion, mask = torch.randn(2, 6, 3), torch.rand(2, 6, 3) < 0.5
    seed = torch.randn(2, 4, 3)
    seeded, left = seed_masked_window(motion, mask, seed)
    assert torch.equal(seeded[:, 4:], motion[:, 4:])
    assert torch.equal(left[:, 4:], mask[:, 4:])
    assert not left[:, :4].any()
    head = mask[:, :4]
    assert torch.equal(seeded[:, :4][head], seed[head])
    assert torch.equal(seeded[:, :4][~head], motion[:, :4][~head])


def test_errors():
    with pytest.raises(ValueError, match="`num_frames` must be at least 9; got 8"):
        plan_masked_windows(8, 64, 4, strict_upstream=True)
    with pytest.raises(ValueError, match="`num_frames` must be at least 5; got 4"):
        plan_masked_windows(4, 64, 4)
    with pytest.raises(ValueError, match="`seed_frames` must be from 1 to 63; got 64"):
        plan_masked_windows(100, 64, 64)
