"""Multi-head attention whose keys and values can be made once and used often.

``(B, T, C)`` in and out. The projections are ordinary ``nn.Linear`` modules: ``query``, ``key_value`` (both in one
product, since they share their input) and ``out``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["KeyValue", "MultiHeadAttention"]


class KeyValue(NamedTuple):
    """Projected memory, split into heads: each ``(..., H, T, C // H)``."""

    key: Tensor
    value: Tensor


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention over ``num_heads`` heads.

    Args:
        dim: Width of the input and the output, ``C``.
        num_heads: Heads; must divide ``dim``.
        memory_dim: Width of the memory where it differs from ``dim``.
        bias: Whether the four projections have biases.
        dropout: Share of attention weights dropped in training.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``.

    Example:
        >>> import torch
        >>> attention, x = MultiHeadAttention(8, num_heads=2), torch.randn(1, 5, 8)
        >>> attention(x).shape  # self-attention
        torch.Size([1, 5, 8])
        >>> memory = attention.project(torch.randn(1, 3, 8))  # once
        >>> attention.attend(x, memory).shape  # as often as there are queries
        torch.Size([1, 5, 8])

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.
    """

    def __init__(
        self, dim: int, num_heads: int, *, memory_dim: int | None = None, bias: bool = True, dropout: float = 0.0
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"`num_heads` must divide `dim`; got num_heads={num_heads}, dim={dim}.")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key_value = nn.Linear(memory_dim or dim, 2 * dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from ``x`` to ``memory``, or to ``x`` itself.

        Args:
            x: Queries, ``(B, T, C)``.
            memory: What is looked at, ``(B, T', C')``; None for self-attention.
            mask: True where a query may look, or numbers added to the scores; broadcasts to ``(B, H, T, T')``.
            causal: Whether frame ``t`` sees frames up to ``t`` only. Not together with ``mask``.

        Returns:
            ``(B, T, C)``.
        """
        return self.attend(x, self.project(x if memory is None else memory), mask=mask, causal=causal)

    def project(self, memory: Tensor) -> KeyValue:
        """Keys and values of ``memory``, ``(..., T', C')``."""
        key, value = self.key_value(memory).chunk(2, dim=-1)
        return KeyValue(self._split(key), self._split(value))

    def attend(self, x: Tensor, memory: KeyValue, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attend from ``x``, ``(B, T, C)``, to a projected memory; arguments as for ``forward``."""
        heads = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            memory.key,
            memory.value,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self._out(heads)

    def _out(self, heads: Tensor) -> Tensor:
        out: Tensor = self.out(heads.transpose(-2, -3).flatten(-2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.num_heads, -1).transpose(-2, -3)
