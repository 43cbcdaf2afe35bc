"""Folded layers do what the layers they were folded from do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cospeech.nn import (
    ChannelsLastConv1d,
    ProductConv1d,
    WaveEncoder,
    fold_batch_norm,
    fold_linear,
    fold_wave_encoders,
)


def used(encoder: nn.Module) -> nn.Module:
    """With statistics and affine maps that differ from channel to channel."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                tensor.data.uniform_(0.5, 1.5)
    return encoder.eval()


@pytest.mark.parametrize("stand_in", [ChannelsLastConv1d, ProductConv1d])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "bias"), [(15, 1, 7, True), (15, 6, 0, True), (3, 2, 4, False)]
)
@torch.no_grad()
def test_convolutions_stand_in(stand_in: type, kernel: int, stride: int, padding: int, bias: bool) -> None:
    conv, x = nn.Conv1d(5, 7, kernel, stride, padding, bias=bias), torch.randn(2, 5, 40)
    for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2), x[:, :, 1:]):
        torch.testing.assert_close(stand_in(conv)(given), conv(given), rtol=0, atol=1e-5)


@torch.no_grad()
def test_chained_stand_ins_keep_channels_together() -> None:
    y = ProductConv1d(nn.Conv1d(1, 8, 5))(torch.randn(2, 1, 50))
    y = ChannelsLastConv1d(nn.Conv1d(8, 8, 3))(y)
    assert y.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_batch_norm_folds_into_its_convolution(affine: bool) -> None:
    conv, norm = nn.Conv1d(3, 4, 5, bias=False), nn.BatchNorm1d(4, affine=affine)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.1, 2)
    x = torch.randn(2, 3, 20)
    torch.testing.assert_close(fold_batch_norm(conv, norm)(x), norm.eval()(conv(x)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("biases", [(True, True), (True, False), (False, True), (False, False)])
@torch.no_grad()
def test_linear_layers_fold(biases: tuple[bool, bool]) -> None:
    outer, inner, x = nn.Linear(8, 6, bias=biases[0]), nn.Linear(4, 8, bias=biases[1]), torch.randn(3, 2, 4)
    torch.testing.assert_close(fold_linear(outer, inner)(x), outer(inner(x)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_folded_encoder_hears_the_same_and_leaves_the_given_one() -> None:
    encoder, signal = used(WaveEncoder(32, 2)), torch.randn(3, 2, 6000)
    before = encoder(signal)
    folded = fold_wave_encoders(encoder)
    torch.testing.assert_close(folded(signal), before, rtol=1e-4, atol=1e-4)
    assert torch.equal(encoder(signal), before)
    assert folded.num_features(6000) == encoder.num_features(6000) == before.shape[1]


def test_what_cannot_be_folded_is_named() -> None:
    with pytest.raises(ValueError, match="must have no groups"):
        ChannelsLastConv1d(nn.Conv1d(4, 4, 3, groups=2))
    with pytest.raises(ValueError, match="must have no groups"):
        ProductConv1d(nn.Conv1d(4, 4, 3, dilation=2))
    with pytest.raises(ValueError, match="must keep running statistics"):
        fold_batch_norm(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3, track_running_stats=False))
