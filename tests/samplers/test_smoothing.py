from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_coeffs, savgol_filter

from cospeech.samplers import savgol_coefficients, smooth_savgol


@pytest.mark.parametrize(("window_frames", "order"), [(1, 0), (3, 0), (5, 3), (7, 2), (7, 6), (11, 4), (31, 3)])
def test_equal_those_of_scipy(window_frames, order):
    assert savgol_coefficients(window_frames, order) == pytest.approx(savgol_coeffs(window_frames, order), abs=1e-12)
    x = torch.randn(2, 60, 3, dtype=torch.float64)
    half = window_frames // 2
    inner = slice(half, 60 - half)
    expected = torch.from_numpy(savgol_filter(x.numpy(), window_frames, order, axis=1))
    torch.testing.assert_close(smooth_savgol(x, window_frames, order)[:, inner], expected[:, inner])


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_polynomials_pass_unchanged(order, half, num_frames):
    window_frames = 2 * half + 1
    order = min(order, window_frames - 1)
    time = torch.linspace(-1, 1, num_frames, dtype=torch.float64)[:, None]
    x = sum(
        coefficient * time**power for power, coefficient in enumerate([1.0, -2.0, 0.5, 3.0, -1.0, 0.3][: order + 1])
    )
    torch.testing.assert_close(smooth_savgol(x, window_frames, order), x, rtol=0, atol=1e-10)


def test_ends_are_kept_and_the_input_too():
    x = torch.randn(2, 20, 3)
    before, smooth = x.clone(), smooth_savgol(x)
    assert torch.equal(x, before)
    assert torch.equal(smooth[:, :3], x[:, :3])
    assert torch.equal(smooth[:, -3:], x[:, -3:])
    assert not torch.isclose(smooth[:, 3:-3], x[:, 3:-3]).any(dim=-1).all()


@pytest.mark.parametrize("num_frames", [0, 1, 6])
def test_too_short_to_filter(num_frames):
    x = torch.randn(1, num_frames, 3)
    assert torch.equal(smooth_savgol(x), x)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_any_axis(dim):
    x = torch.randn(9, 10, 11)
    expected = smooth_savgol(x.movedim(dim, -2)).movedim(-2, dim)
    torch.testing.assert_close(smooth_savgol(x, dim=dim), expected)


def test_differentiable():
    x = torch.randn(1, 9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: smooth_savgol(x, 5, 2), (x,))


@pytest.mark.parametrize(
    ("window_frames", "order", "message"),
    [
        (6, 2, "`window_frames` must be odd and positive; got 6"),
        (-1, 0, "must be odd and positive; got -1"),
        (7, 7, "`order` must be from 0 to 6 for 7 frames; got 7"),
        (7, -1, "`order` must be from 0 to 6"),
    ],
)
def test_settings_that_make_no_filter(window_frames, order, message):
    with pytest.raises(ValueError, match=message):
        smooth_savgol(torch.zeros(1, 9, 1), window_frames, order)
