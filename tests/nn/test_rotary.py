"""Rotary positions: lengths stay, only differences of positions count, a pinned angle."""

import torch

from cospeech.nn import rotary_phases, rotate_pairs


def test_rotation_keeps_lengths_and_tells_differences():
    query, key = torch.randn(2, 8).double()
    phases = rotary_phases(20, 8)
    scores = [[rotate_pairs(query, phases[i]) @ rotate_pairs(key, phases[j]) for j in range(20)] for i in range(20)]
    for i in range(15):
        torch.testing.assert_close(scores[i + 5][i], scores[5][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(rotate_pairs(query, phases[7]).norm(), query.norm(), rtol=1e-6, atol=0)


def test_first_pair_turns_by_one_radian_towards_its_second_channel():
    turned = rotate_pairs(torch.tensor([[1.0, 0.0, 1.0, 0.0]]), rotary_phases(1, 4, first=3))
    expected = torch.tensor([3.0, 3.0, 0.03, 0.03])
    expected = torch.stack([expected[0].cos(), expected[1].sin(), expected[2].cos(), expected[3].sin()])
    torch.testing.assert_close(turned[0], expected)


def test_phases_begin_anywhere():
    torch.testing.assert_close(rotary_phases(4, 6, first=3), rotary_phases(7, 6)[3:])
