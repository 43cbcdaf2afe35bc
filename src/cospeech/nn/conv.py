"""Convolutions along time that see the past alone, for whole clips and streams alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CausalConv1d", "CausalResidual"]


class CausalConv1d(nn.Module):
    """``nn.Conv1d`` padded on the left only; runs on whole clips or frame by frame.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel_size: Frames that an output sees, ``dilation`` apart.
        stride: Input frames per output frame. Output ``i`` sees nothing behind input ``stride * (i + 1) - 1``.
        dilation: Frames between the frames that an output sees.

    Raises:
        ValueError: If the kernel does not cover the stride.

    Example:
        >>> conv, clip = CausalConv1d(4, 8, kernel_size=3), torch.randn(2, 4, 10)
        >>> state = conv.init_state(batch_size=2)
        >>> head, state = conv.step(clip[..., :7], state)
        >>> tail, state = conv.step(clip[..., 7:], state)
        >>> torch.allclose(torch.cat([head, tail], -1), conv(clip), atol=1e-6)
        True
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation)
        self.context = (kernel_size - 1) * dilation + 1 - stride  # past frames kept between steps
        if self.context < 0:
            raise ValueError(f"`kernel_size` must cover `stride`; got kernel_size={kernel_size}, stride={stride}.")

    def forward(self, x: Tensor) -> Tensor:
        """Filter a whole clip: ``(B, C, T)`` to ``(B, C', T // stride)``."""
        return self.step(x, self.init_state(x.shape[0]))[0]

    def init_state(self, batch_size: int) -> Tensor:
        """Silence before the first frame: ``(B, C, context)``."""
        return self.conv.weight.new_zeros(batch_size, self.conv.in_channels, self.context)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Filter the next frames; return them with the state that follows them.

        Raises:
            ValueError: If there is no frame, or the stride does not divide their number.
        """
        stride = self.conv.stride[0]
        if x.shape[-1] % stride or not x.shape[-1]:
            raise ValueError(f"`x` must hold a multiple of {stride} frames; got {x.shape[-1]}.")
        x = torch.cat([state, x], dim=-1)
        return self.conv(x), x[..., x.shape[-1] - self.context :]


class CausalResidual(nn.Module):
    """``x + mix(relu(dilated(relu(x))))``: a dilated causal convolution of three frames, then one of a single frame.

    Args:
        dim: Width of input and output.
        dilation: Frames between the three frames.

    Example:
        >>> CausalResidual(8, dilation=3)(torch.randn(2, 8, 10)).shape
        torch.Size([2, 8, 10])
    """

    def __init__(self, dim: int, *, dilation: int):
        super().__init__()
        self.dilated = CausalConv1d(dim, dim, kernel_size=3, dilation=dilation)
        self.mix = nn.Conv1d(dim, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map a whole clip ``(B, C, T)`` to ``(B, C, T)``."""
        return self.step(x, self.init_state(x.shape[0]))[0]

    def init_state(self, batch_size: int) -> Tensor:
        """What the dilated convolution keeps, ``(B, C, 2 * dilation)``; it lies behind the ReLU."""
        return self.dilated.init_state(batch_size)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map the next frames."""
        hidden, state = self.dilated.step(F.relu(x), state)
        return x + self.mix(F.relu(hidden)), state
