"""Positional encodings: the formula, offsets, precision."""

import math

import pytest
import torch

from cospeech.nn import SinusoidalPositionalEncoding, inverse_frequencies, sinusoidal_positions


def test_formula():
    dim, table = 10, sinusoidal_positions(50, 10)
    for position in (0, 1, 7, 49):
        for k in range(dim // 2):
            angle = position * 10000 ** (-2 * k / dim)
            assert table[position, 2 * k] == pytest.approx(math.sin(angle), abs=5e-6)
            assert table[position, 2 * k + 1] == pytest.approx(math.cos(angle), abs=5e-6)


def test_offset_is_a_shift():
    torch.testing.assert_close(sinusoidal_positions(3, 8, first=4), sinusoidal_positions(7, 8)[4:])


def test_keeps_no_state_and_follows_dtype():
    encode = SinusoidalPositionalEncoding(64).bfloat16()
    assert not encode.state_dict()
    x = torch.zeros(1, 300, 64, dtype=torch.bfloat16)
    assert encode(x).dtype == torch.bfloat16
    # Phases are made in float32 and rounded once: bfloat16 phases would be wrong by whole turns at frame 300.
    torch.testing.assert_close(encode(x)[0].float(), sinusoidal_positions(300, 64), rtol=0, atol=4e-3)


def test_no_frames():
    assert SinusoidalPositionalEncoding(4)(torch.zeros(2, 0, 4)).shape == (2, 0, 4)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="`dim` must be even; got 5"):
        inverse_frequencies(5)
