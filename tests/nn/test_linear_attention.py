from __future__ import annotations

import pytest
import torch

from cospeech.nn import LinearAttention

torch.manual_seed(0)


def slow_attention(attention, x, mask):
    """Head by head, frame by frame."""
    query, key, value = attention.query_key_value(x).chunk(3, -1)
    width = x.shape[-1] // attention.num_heads
    y = torch.zeros_like(x)
    for b in range(len(x)):
        frames = [t for t in range(x.shape[1]) if mask[b, t]]
        for start in range(0, x.shape[-1], width):
            head = slice(start, start + width)
            weights = key[b, frames, head].softmax(dim=0)
            summary = sum(torch.outer(weights[i], value[b, t, head]) for i, t in enumerate(frames))
            for t in range(x.shape[1]):
                y[b, t, head] = query[b, t, head].softmax(dim=-1) @ summary
    return y


def test_equals_its_slow_twin():
    attention, x = LinearAttention(12, num_heads=3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(attention(x), slow_attention(attention, x, everywhere))
    torch.testing.assert_close(attention(x, mask=everywhere), attention(x))
    mask = torch.tensor([[True, True, False, True, False], [False, False, False, False, True]])
    torch.testing.assert_close(attention(x, mask=mask), slow_attention(attention, x, mask))


def test_frames_are_a_set():
    """Without positions the order of frames means nothing."""
    attention, x, order = LinearAttention(8, num_heads=2), torch.randn(1, 6, 8), torch.randperm(6)
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])


def test_all_frames_masked_is_finite():
    assert LinearAttention(8, 2)(torch.randn(1, 4, 8), mask=torch.zeros(1, 4, dtype=torch.bool)).isfinite().all()


def test_heads_that_do_not_fit():
    with pytest.raises(ValueError, match="must be a multiple of `num_heads`; got dim=8, num_heads=3"):
        LinearAttention(8, num_heads=3)
