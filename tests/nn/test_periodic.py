import pytest
import torch

from cospeech.nn import PeriodicPositionalEncoding, sinusoidal_positions


@pytest.mark.parametrize("num_frames", [1, 7, 8, 9, 30])
def test_counts_from_zero_after_each_period(num_frames):
    positions = PeriodicPositionalEncoding(6, period=8)(torch.zeros(2, num_frames, 6))
    table = sinusoidal_positions(8, 6)
    assert torch.equal(positions, table[torch.arange(num_frames) % 8].expand(2, -1, -1))


def test_keeps_dtype():
    assert PeriodicPositionalEncoding(4, 3)(torch.zeros(5, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
