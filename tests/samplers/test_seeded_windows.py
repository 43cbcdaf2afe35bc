from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.samplers import SeededWindows, count_windows, inpaint_seed


def sample(inputs, seed):
    """A made-up window: follows its inputs, starts at its seed, and goes on from where the seed leads."""
    return torch.cumsum(inputs, dim=1) + seed[..., : inputs.shape[-1]].mean(dim=1, keepdim=True)


def join_offline(all_windows, overlap, weights):
    """The slow twin: every window kept, put down one after the other."""
    result = all_windows[0]
    for window in all_windows[1:]:
        seam = result[:, -overlap:] * (1 - weights[:, None]) + window[:, :overlap] * weights[:, None]
        result = torch.cat([result[:, :-overlap], seam, window[:, overlap:]], dim=1)
    return result


@given(st.integers(1, 4), st.integers(0, 5), st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=50)
def test_one_at_a_time_equals_all_at_once(overlap, more, num_windows, flat):
    length, weights = 2 * overlap + more, torch.full((overlap,), 0.5) if flat else None
    inputs, seed = torch.randn(num_windows, 2, length, 3), torch.randn(2, overlap, 3)
    windows = SeededWindows(sample, overlap_frames=overlap, later_weights=weights)

    made, current = [], seed
    for item in inputs:
        made.append(sample(item, current))
        current = made[-1][:, -overlap:]  # before blending
    weights = torch.arange(1, overlap + 1) / (overlap + 1) if weights is None else weights
    expected = join_offline(made, overlap, weights)

    streamed = list(windows.run(inputs, seed))
    assert len(streamed) == num_windows + 1
    torch.testing.assert_close(torch.cat(streamed, dim=1), expected)
    assert expected.shape[1] == length + (num_windows - 1) * (length - overlap)


def test_state_is_a_value():
    windows = SeededWindows(sample, overlap_frames=2)
    inputs = torch.randn(2, 1, 7, 3)
    _, state = windows.step(inputs[0], windows.init_state(torch.zeros(1, 2, 3)))
    first = windows.step(inputs[1], state)
    again = windows.step(inputs[1], state)
    assert torch.equal(first[0], again[0])
    assert state.tail.untyped_storage().size() == 4 * state.tail.numel()  # keeps the overlap, not its window


def test_a_clip_does_not_depend_on_its_batch():
    windows = SeededWindows(sample, overlap_frames=2)
    inputs, seed = torch.randn(3, 4, 7, 3), torch.randn(4, 2, 3)
    together = torch.cat(list(windows.run(inputs, seed)), dim=1)
    alone = torch.cat(list(windows.run(inputs[:, 1:2], seed[1:2])), dim=1)
    assert torch.equal(together[1:2], alone)


def test_windows_are_made_when_asked_for():
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield torch.zeros(1, 6, 1)

    run = SeededWindows(sample, overlap_frames=2).run(endless(), torch.zeros(1, 2, 1))
    next(run), next(run)
    assert len(asked) == 2


def test_windows_that_agree_join_without_a_trace():
    motion = torch.randn(1, 100, 2)

    def cut(start, seed):
        return motion[:, start : start + 20]

    windows = SeededWindows(cut, overlap_frames=5)
    joined = torch.cat(list(windows.run(range(0, 81, 15), torch.zeros(1, 5, 2))), dim=1)
    assert torch.equal(joined, motion[:, :95])


def test_seams_do_not_jump():
    levels = iter([0.0, 1.0])
    windows = SeededWindows(lambda _, seed: torch.full((1, 20, 1), next(levels)), overlap_frames=4)
    joined = torch.cat(list(windows.run([0, 1], torch.zeros(1, 4, 1))), dim=1).flatten()
    torch.testing.assert_close(joined.diff().abs().max(), torch.tensor(0.2))


def test_no_windows_no_frames():
    windows = SeededWindows(sample, overlap_frames=2)
    assert [frames.shape[1] for frames in windows.run([], torch.zeros(1, 2, 3))] == [0]


def test_extra_channels_may_appear():
    windows = SeededWindows(lambda x, seed: torch.cat([sample(x, seed[..., :3]), x[..., :1]], -1), overlap_frames=2)
    frames = torch.cat(list(windows.run(torch.randn(3, 1, 7, 3), torch.zeros(1, 2, 3))), dim=1)
    assert frames.shape == (1, 17, 4)


@given(st.integers(1, 500), st.integers(2, 60), st.integers(1, 59))
@settings(deadline=None, max_examples=200)
def test_just_enough_windows(num_frames, window_frames, overlap_frames):
    if overlap_frames >= window_frames:
        with pytest.raises(ValueError, match="`overlap_frames` must be from 1 to"):
            count_windows(num_frames, window_frames, overlap_frames)
        return
    count = count_windows(num_frames, window_frames, overlap_frames)

    def covered(windows):
        return window_frames + (windows - 1) * (window_frames - overlap_frames)

    assert covered(count) >= num_frames
    assert count == 1 or covered(count - 1) < num_frames


def test_inpainting_draws_the_first_frames_to_the_seed():
    clean, seed = torch.randn(2, 9, 3), torch.randn(2, 4, 3)
    for weight in (0.0, 0.5, 1.0):
        result = inpaint_seed(lambda x, t: clean, seed, weight=weight)(torch.zeros(2, 9, 3), 0)
        torch.testing.assert_close(result[:, :4], (1 - weight) * clean[:, :4] + weight * seed)
        assert torch.equal(result[:, 4:], clean[:, 4:])


def test_messages():
    with pytest.raises(ValueError, match="`overlap_frames` must be at least 1; got 0"):
        SeededWindows(sample, overlap_frames=0)
    with pytest.raises(ValueError, match=r"`later_weights` must have shape \(3\); got \(2,\)"):
        SeededWindows(sample, overlap_frames=3, later_weights=torch.ones(2))
    windows = SeededWindows(sample, overlap_frames=3)
    with pytest.raises(ValueError, match=r"`seed` must have shape \(B, 3, C\); got \(1, 2, 3\)"):
        windows.init_state(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="at least 6 frames, two overlaps; got 5"):
        windows.step(torch.zeros(1, 5, 3), windows.init_state(torch.zeros(1, 3, 3)))
