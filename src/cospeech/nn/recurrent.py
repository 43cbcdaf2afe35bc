"""Recurrent networks over whole clips."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SummedBidirectionalLSTM"]


class SummedBidirectionalLSTM(nn.Module):
    """A stacked LSTM that runs both ways, what both say added up.

    Args:
        in_dim: Width of the input.
        dim: Width of the output, and of each direction.
        num_layers: Between layers both directions are kept side by side.
        dropout: Between layers.

    Example:
        >>> import torch
        >>> SummedBidirectionalLSTM(6, 8, num_layers=2)(torch.randn(1, 20, 6)).shape
        torch.Size([1, 20, 8])
    """

    def __init__(self, in_dim: int, dim: int, num_layers: int, *, dropout: float = 0.0):
        super().__init__()
        between = dropout if num_layers > 1 else 0.0  # torch warns of dropout between layers where there is one layer
        self.lstm = nn.LSTM(in_dim, dim, num_layers, batch_first=True, bidirectional=True, dropout=between)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, in_dim)`` to ``(B, T, dim)``."""
        forwards, backwards = self.lstm(x)[0].chunk(2, dim=-1)
        y: Tensor = forwards + backwards
        return y
