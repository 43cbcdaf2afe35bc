"""Attention against torch's own, and the laws of masks and kept memories."""

import pytest
import torch
from torch import nn

from cospeech.nn import MultiHeadAttention


def torch_twin(attention: MultiHeadAttention) -> nn.MultiheadAttention:
    """torch's attention with the same weights."""
    dim = attention.query.in_features
    twin = nn.MultiheadAttention(dim, attention.num_heads, batch_first=True, bias=attention.query.bias is not None)
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([attention.query.weight, attention.key_value.weight]))
        twin.out_proj.weight.copy_(attention.out.weight)
        if attention.query.bias is not None:
            twin.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key_value.bias]))
            twin.out_proj.bias.copy_(attention.out.bias)
    return twin


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_equals_torch(bias, num_heads, generator):
    attention = MultiHeadAttention(12, num_heads, bias=bias)
    twin = torch_twin(attention)
    x, memory = torch.randn(2, 5, 12, generator=generator), torch.randn(2, 7, 12, generator=generator)
    torch.testing.assert_close(attention(x), twin(x, x, x)[0])
    torch.testing.assert_close(attention(x, memory), twin(x, memory, memory)[0])


def test_masks_equal_torch(generator):
    attention = MultiHeadAttention(12, 3)
    twin = torch_twin(attention)
    x, memory = torch.randn(2, 5, 12, generator=generator), torch.randn(2, 7, 12, generator=generator)
    look = torch.rand(5, 7, generator=generator) < 0.6
    look[:, 0] = True  # everyone may look somewhere
    torch.testing.assert_close(attention(x, memory, mask=look), twin(x, memory, memory, attn_mask=~look)[0])
    present = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])  # memories of different lengths
    expected = twin(x, memory, memory, key_padding_mask=~present)[0]
    torch.testing.assert_close(attention(x, memory, mask=present[:, None, None]), expected)


def test_causal_does_not_see_ahead(generator):
    attention, x = MultiHeadAttention(8, 2), torch.randn(1, 6, 8, generator=generator)
    changed = x.clone()
    changed[:, 4:] += 1
    torch.testing.assert_close(attention(x, causal=True)[:, :4], attention(changed, causal=True)[:, :4])
    assert not torch.allclose(attention(x)[:, :4], attention(changed)[:, :4])


def test_kept_memory_equals_fresh(generator):
    attention = MultiHeadAttention(8, 2, memory_dim=5)
    memory = torch.randn(1, 6, 5, generator=generator)
    kept = attention.project(memory)
    for length in (1, 3):
        x = torch.randn(1, length, 8, generator=generator)
        torch.testing.assert_close(attention.attend(x, kept), attention(x, memory))


def test_permuting_the_memory_changes_nothing(generator):
    attention = MultiHeadAttention(8, 2)
    x, memory = torch.randn(1, 3, 8, generator=generator), torch.randn(1, 6, 8, generator=generator)
    torch.testing.assert_close(attention(x, memory), attention(x, memory.flip(1)))


def test_gradients(generator):
    attention = MultiHeadAttention(4, 2).double()
    x = torch.randn(1, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    memory = torch.randn(1, 2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, memory: attention(x, memory), (x, memory))


def test_dropout_acts_in_training_only(generator):
    attention, x = MultiHeadAttention(8, 2, dropout=0.9), torch.randn(1, 6, 8, generator=generator)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def test_heads_must_divide():
    with pytest.raises(ValueError, match="`num_heads` must divide `dim`; got num_heads=3, dim=8"):
        MultiHeadAttention(8, 3)
