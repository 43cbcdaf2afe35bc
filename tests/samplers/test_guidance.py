from __future__ import annotations

import pytest
import torch

from cospeech.samplers import guide, guide_batched


def network(x, timestep, condition):
    return torch.sin(x + timestep) * condition


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0, 4.5])
def test_both_ways_equal_the_formula(scale):
    x, condition, none = torch.randn(2, 5), torch.randn(2, 1), torch.zeros(2, 1)
    with_, without = network(x, 3, condition), network(x, 3, none)
    expected = without + scale * (with_ - without)
    both = torch.cat([condition, none])
    separate = guide(lambda x, t: network(x, t, condition), lambda x, t: network(x, t, none), scale)(x, 3)
    batched = guide_batched(lambda x, t: network(x, t, both), scale)(x, 3)
    torch.testing.assert_close(separate, expected)
    torch.testing.assert_close(batched, expected)


def test_scale_1_never_asks_without_condition():
    def never(x, timestep):
        raise AssertionError

    assert guide(lambda x, t: x + 1, never, 1.0)(torch.zeros(1), 0) == 1
