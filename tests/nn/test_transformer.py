"""Transformer layers against torch's own, weight for weight."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cospeech.nn import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer

ACTIVATIONS = [F.relu, F.gelu]


def copy_attention(ours, theirs):
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def shake(module, generator):
    """Values other than ones and zeros in the norms, so that a swapped norm shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def torch_twin(layer):
    dim, heads = layer.self_norm.normalized_shape[0], layer.self_attention.num_heads
    has_memory = isinstance(layer, TransformerDecoderLayer)
    make = nn.TransformerDecoderLayer if has_memory else nn.TransformerEncoderLayer
    twin = make(
        dim,
        heads,
        layer.feedforward.expand.out_features,
        batch_first=True,
        norm_first=layer.norm_first,
        activation=layer.feedforward.activation,
    )
    norms = [layer.self_norm, *([layer.cross_norm] if has_memory else []), layer.feedforward_norm]
    with torch.no_grad():
        copy_attention(layer.self_attention, twin.self_attn)
        if has_memory:
            copy_attention(layer.cross_attention, twin.multihead_attn)
        twin.linear1.load_state_dict(layer.feedforward.expand.state_dict())
        twin.linear2.load_state_dict(layer.feedforward.contract.state_dict())
        for i, norm in enumerate(norms, start=1):
            getattr(twin, f"norm{i}").load_state_dict(norm.state_dict())
    return twin.eval()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_equals_torch(norm_first, activation, generator):
    layer = TransformerEncoderLayer(12, 3, 20, norm_first=norm_first, activation=activation).eval()
    twin = torch_twin(shake(layer, generator))
    x = torch.randn(2, 5, 12, generator=generator)
    torch.testing.assert_close(layer(x), twin(x))
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(layer(x, causal=True), twin(x, src_mask=ahead))
    torch.testing.assert_close(layer(x, mask=~ahead), twin(x, src_mask=ahead))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm_first", [True, False])
def test_decoder_equals_torch(norm_first, activation, generator):
    layer = TransformerDecoderLayer(12, 3, 20, norm_first=norm_first, activation=activation).eval()
    twin = torch_twin(shake(layer, generator))
    x, memory = torch.randn(2, 5, 12, generator=generator), torch.randn(2, 7, 12, generator=generator)
    torch.testing.assert_close(layer(x, memory), twin(x, memory))
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
    near = torch.ones(5, 7, dtype=torch.bool).tril(2)
    expected = twin(x, memory, tgt_mask=ahead, memory_mask=~near)
    torch.testing.assert_close(layer(x, memory, causal=True, memory_mask=near), expected)


@pytest.mark.parametrize("norm_first", [True, False])
def test_gradients_equal_torch(norm_first, generator):
    layer = shake(TransformerEncoderLayer(12, 3, 20, norm_first=norm_first, dropout=0.0), generator)
    twin = torch_twin(layer)
    x = torch.randn(2, 5, 12, generator=generator)
    layer(x).square().sum().backward()
    twin(x).square().sum().backward()
    torch.testing.assert_close(layer.feedforward.expand.weight.grad, twin.linear1.weight.grad)
    ours = torch.cat([layer.self_attention.query.weight.grad, layer.self_attention.key_value.weight.grad])
    torch.testing.assert_close(ours, twin.self_attn.in_proj_weight.grad, rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only(generator):
    layer, x = TransformerEncoderLayer(8, 2, 16, dropout=0.5), torch.randn(1, 4, 8, generator=generator)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_feedforward_is_two_layers(generator):
    layer = FeedForward(4, 6, out_dim=3, activation=F.silu)
    x = torch.randn(2, 5, 4, generator=generator)
    hidden = x @ layer.expand.weight.T + layer.expand.bias
    expected = (hidden / (1 + (-hidden).exp())) @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(layer(x), expected)
