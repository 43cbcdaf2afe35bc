"""Adaptive modulation: order of the chunks, silence at the start, broadcasting."""

import torch
import torch.nn.functional as F

from cospeech.nn import AdaptiveModulation, Modulation, modulate


def test_starts_at_zero(generator):
    for branch in AdaptiveModulation(6, 4, num_branches=3)(torch.randn(2, 6, generator=generator)):
        assert not any(part.any() for part in branch)


def test_chunks_in_order(generator):
    modulation = AdaptiveModulation(6, 4, num_branches=2)
    torch.nn.init.normal_(modulation.linear.weight, generator=generator)
    torch.nn.init.normal_(modulation.linear.bias, generator=generator)
    condition = torch.randn(5, 2, 6, generator=generator)
    flat = F.linear(F.silu(condition), modulation.linear.weight, modulation.linear.bias)
    parts = [part for branch in modulation(condition) for part in branch]
    assert [part.shape for part in parts] == 6 * [(5, 2, 1, 4)]
    torch.testing.assert_close(torch.cat(parts, dim=-1).squeeze(-2), flat)


def test_modulate(generator):
    x = torch.randn(2, 7, 4, generator=generator)
    gate, scale, shift = (torch.randn(2, 1, 4, generator=generator) for _ in range(3))
    torch.testing.assert_close(modulate(x, Modulation(gate, scale, shift)), x * (1 + scale) + shift)
    nothing = Modulation(*torch.zeros(3, 2, 1, 4))
    assert torch.equal(modulate(x, nothing), x)
