"""Stacked modules do what each alone would do."""

import pytest
import torch
from torch import nn

from cospeech.nn import FeedForward, MultiHeadAttention, StackedLinear, stack_modules


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 4), (1, 5, 4), (3, 2, 5, 4)])
def test_linear(shape, bias, generator):
    linears = [nn.Linear(4, 3, bias=bias) for _ in range(3)]
    parts = [torch.randn(shape, generator=generator) for _ in linears]
    expected = torch.cat([linear(part) for linear, part in zip(linears, parts, strict=True)])
    torch.testing.assert_close(StackedLinear(linears)(torch.cat(parts)), expected)


def test_attention_and_feedforward(generator):
    pair = [nn.Sequential(MultiHeadAttention(8, 2), FeedForward(8, 16)) for _ in range(2)]
    stacked = stack_modules(pair)
    parts = [torch.randn(2, 5, 8, generator=generator) for _ in pair]
    expected = torch.cat([module(part) for module, part in zip(pair, parts, strict=True)])
    torch.testing.assert_close(stacked(torch.cat(parts)), expected)
    assert isinstance(pair[0][1].expand, nn.Linear), "the given modules were changed"


def test_weights_are_copies(generator):
    pair = [nn.Linear(4, 3), nn.Linear(4, 3)]
    stacked, x = stack_modules([nn.Sequential(linear) for linear in pair]), torch.randn(2, 4, generator=generator)
    before = stacked(x)
    nn.init.zeros_(pair[0].weight)
    assert torch.equal(stacked(x), before)
    assert not before.requires_grad


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="same layers with the same shapes"):
        stack_modules([FeedForward(4, 8), FeedForward(4, 9)])
    norm = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(ValueError, match=r"weights in linear layers only; got 1\.weight, 1\.bias"):
        stack_modules([norm, norm])
