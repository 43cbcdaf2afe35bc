"""Layers as inference wants them: what follows one another without anything between, as one.

Training needs a convolution and its batch norm apart, or a projection and the projections of its result. Afterwards
they are one affine map. And with the channels of a frame beside each other, oneDNN's convolutions run up to twice as
fast as in PyTorch's channel-by-channel layout (measured: 160 billion operations a second against 85 to 120, for kernel
15 and 64 channels on one Sapphire Rapids core). Results differ from those of the plain module by rounding.
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn.wave_encoder import WaveBlock

__all__ = ["ChannelsLastConv1d", "ProductConv1d", "fold_batch_norm", "fold_linear", "fold_wave_encoders"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ChannelsLastConv1d(nn.Module):
    """Stands in for an ``nn.Conv1d`` on ``(B, C, T)`` whose memory lies as ``(B, T, C)``; output lies the same way.

    Args:
        conv: The layer to stand in for, without groups or dilation.

    Example:
        >>> conv, x = nn.Conv1d(4, 8, 15, stride=3), torch.randn(2, 4, 60)
        >>> torch.allclose(ChannelsLastConv1d(conv)(x), conv(x), atol=1e-5)
        True
    """

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.stride, self.padding = conv.stride[0], _padding(conv)
        weight = conv.weight.detach()[:, :, None]
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last), persistent=False)
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Filter without gradient to the weights."""
        image = x[:, :, None].contiguous(memory_format=torch.channels_last)
        weight, bias = cast(Tensor, self.weight), cast("Tensor | None", self.bias)
        return F.conv2d(image, weight, bias, (1, self.stride), (0, self.padding)).squeeze(2)


class ProductConv1d(nn.Module):
    """Stands in for an ``nn.Conv1d`` as one product of what each output frame sees with all weights.

    For few input channels, where a convolution's own preparations take longer than its sums. Layout as for
    ``ChannelsLastConv1d``.

    Args:
        conv: The layer to stand in for, without groups or dilation.

    Example:
        >>> conv, x = nn.Conv1d(4, 8, 3, padding=1), torch.randn(2, 4, 6)
        >>> torch.allclose(ProductConv1d(conv)(x), conv(x), atol=1e-5)
        True
    """

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.stride, self.padding, self.kernel_size = conv.stride[0], _padding(conv), conv.kernel_size[0]
        weight = conv.weight.detach().transpose(1, 2).flatten(1)
        self.product = _linear_of(weight, None if conv.bias is None else conv.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Filter without gradient to the weights."""
        frames = F.pad(x.transpose(1, 2), (0, 0, self.padding, self.padding)).contiguous()
        batch, length, dim = frames.shape
        num_out = (length - self.kernel_size) // self.stride + 1
        seen = frames.as_strided(
            (batch, num_out, self.kernel_size * dim), (length * dim, self.stride * dim, 1), frames.storage_offset()
        )
        y: Tensor = self.product(seen).transpose(1, 2)
        return y


def fold_batch_norm(conv: nn.Conv1d, norm: nn.BatchNorm1d) -> nn.Conv1d:
    """One convolution that does what a convolution and a batch norm in evaluation mode do.

    Raises:
        ValueError: If the norm keeps no statistics.

    Example:
        >>> conv, norm = nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8)
        >>> _ = norm(conv(torch.randn(5, 4, 30)))  # statistics
        >>> x = torch.randn(2, 4, 30)
        >>> torch.allclose(fold_batch_norm(conv, norm)(x), norm.eval()(conv(x)), atol=1e-5)
        True
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("`norm` must keep running statistics; this one normalises by each batch.")
    with torch.no_grad():
        scale = (norm.running_var + norm.eps).rsqrt()
        shift = -norm.running_mean * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        folded = copy.deepcopy(conv)
        folded.weight = nn.Parameter(conv.weight * scale[:, None, None], requires_grad=False)
        folded.bias = nn.Parameter(shift if conv.bias is None else conv.bias * scale + shift, requires_grad=False)
    return folded


@torch.no_grad()
def fold_linear(outer: nn.Linear, inner: nn.Linear) -> nn.Linear:
    """One linear layer that does what ``outer(inner(x))`` does.

    Example:
        >>> outer, inner, x = nn.Linear(8, 16), nn.Linear(4, 8), torch.randn(3, 4)
        >>> torch.allclose(fold_linear(outer, inner)(x), outer(inner(x)), atol=1e-5)
        True
    """
    bias: Tensor | None = outer.bias
    if inner.bias is not None:
        bias = F.linear(inner.bias, outer.weight, outer.bias)
    return _linear_of(outer.weight @ inner.weight, bias)


def fold_wave_encoders(module: ModuleT) -> ModuleT:
    """A copy for inference whose waveform encoders run on folded convolutions.

    The given module is left as it is. The copy is in evaluation mode and shares all other weights; it holds the folded
    ones as they are now, so that training the module further does not reach them.

    Example:
        >>> from cospeech.nn import WaveEncoder
        >>> encoder, signal = WaveEncoder(32).eval(), torch.randn(1, 1, 5000)
        >>> torch.allclose(fold_wave_encoders(encoder)(signal), encoder(signal), atol=1e-4)
        True
    """
    tensors = (*module.parameters(), *module.buffers())
    folded = copy.deepcopy(module, memo={id(tensor): tensor for tensor in tensors}).eval()
    for part in folded.modules():
        if isinstance(part, WaveBlock):
            _fold_wave_block(part)
    return folded


def _fold_wave_block(block: WaveBlock) -> None:
    for name in ("first", "second", "shortcut"):
        layers = getattr(block, name)
        if isinstance(layers, nn.Sequential):
            conv, norm = layers
            assert isinstance(conv, nn.Conv1d)
            assert isinstance(norm, nn.BatchNorm1d)
            stand_in = ProductConv1d if conv.in_channels < 8 else ChannelsLastConv1d
            setattr(block, name, stand_in(fold_batch_norm(conv, norm)))


def _linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer without gradient that holds these weights."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def _padding(conv: nn.Conv1d) -> int:
    if conv.groups != 1 or conv.dilation != (1,) or isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise ValueError(f"`conv` must have no groups, no dilation and padding with zeros by a number; got {conv}.")
    return conv.padding[0]
