"""Vectors for classes: who speaks, in which style."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn.transformer import FeedForward

__all__ = ["OneHotEmbedding"]


class OneHotEmbedding(nn.Module):
    """A two-layer perceptron over one-hot classes: ``Linear, SiLU, Linear``.

    Unlike a plain table, all classes share the second layer.

    Args:
        num_classes: How many classes there are.
        hidden_dim: Width between the two layers.
        dim: Width of the result.

    Example:
        >>> import torch
        >>> OneHotEmbedding(31, hidden_dim=128, dim=64)(torch.tensor([2, 0])).shape
        torch.Size([2, 64])
    """

    like: Tensor

    def __init__(self, num_classes: int, *, hidden_dim: int, dim: int):
        super().__init__()
        self.num_classes = num_classes
        self.mlp = FeedForward(num_classes, hidden_dim, out_dim=dim, activation=F.silu)
        # A buffer, so that the vectors follow the module's device and dtype whatever its linears are made of.
        self.register_buffer("like", torch.empty(0, device="cpu"), persistent=False)

    def forward(self, index: Tensor) -> Tensor:
        """Vectors ``(..., C)`` of integer classes ``(...)``.

        Raises:
            ValueError: If a class is out of range (checked on the CPU; elsewhere the check would wait for the device).
        """
        if index.device.type == "cpu" and ((index < 0) | (index >= self.num_classes)).any():
            raise ValueError(f"`index` must lie in 0..{self.num_classes - 1}; got {index.tolist()}.")
        vectors: Tensor = self.mlp(F.one_hot(index, self.num_classes).to(self.like))
        return vectors
