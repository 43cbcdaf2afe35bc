"""Positions that begin anew after a period."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cospeech.nn.positional import sinusoidal_positions

__all__ = ["PeriodicPositionalEncoding"]


class PeriodicPositionalEncoding(nn.Module):
    """Add sinusoidal positions to ``(..., T, C)``, counted from 0 again after every ``period`` frames.

    The table is computed, so nothing of it enters a state dict.

    Example:
        >>> encode = PeriodicPositionalEncoding(4, period=3)
        >>> positions = encode(torch.zeros(1, 6, 4))
        >>> torch.equal(positions[:, :3], positions[:, 3:])
        True

    Reference:
        Fan et al., "FaceFormer: Speech-Driven 3D Facial Animation with Transformers", CVPR 2022, section 3.2.
    """

    def __init__(self, dim: int, period: int):
        super().__init__()
        self.dim, self.period = dim, period

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions of frames 0, 1, ..."""
        num_frames = x.shape[-2]
        table = sinusoidal_positions(min(self.period, num_frames), self.dim, device=x.device)
        if num_frames > self.period:
            table = table[torch.arange(num_frames, device=x.device) % self.period]
        return x + table.to(x.dtype)
