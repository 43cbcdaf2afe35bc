"""Transformer layers, norm before or after, equal to those of ``torch.nn`` weight for weight.

They differ from torch's in being open: attention is a module of ours (``project`` and ``attend`` for caching), every
product is an ordinary ``nn.Linear`` call, and masks are True where a query may look.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn.attention import KeyValue, MultiHeadAttention

__all__ = ["FeedForward", "TransformerDecoderLayer", "TransformerEncoderLayer"]

Activation = Callable[[Tensor], Tensor]


class FeedForward(nn.Module):
    """Two linear layers with an activation between: ``contract(activation(expand(x)))``.

    Args:
        dim: Width of input and output.
        hidden_dim: Width between.
        activation: Elementwise function.
        dropout: Share of hidden numbers dropped in training.
        out_dim: Width of the output where it differs from ``dim``.

    Example:
        >>> import torch
        >>> FeedForward(8, 32)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        activation: Activation = F.gelu,
        dropout: float = 0.0,
        out_dim: int | None = None,
    ):
        super().__init__()
        self.activation = activation
        self.expand = nn.Linear(dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(hidden_dim, out_dim or dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., C)`` to ``(..., C)``, each frame on its own."""
        y: Tensor = self.contract(self.dropout(self.activation(self.expand(x))))
        return y


class TransformerEncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with residual, dropout and LayerNorm.

    Args:
        dim: Width, ``C``.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward part.
        norm_first: LayerNorm before each part (pre-norm) instead of after each sum (post-norm).
        activation: Of the feed-forward part.
        dropout: In attention weights, feed-forward and residual branches.

    Example:
        >>> import torch
        >>> TransformerEncoderLayer(8, num_heads=2, feedforward_dim=16)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        *,
        norm_first: bool = False,
        activation: Activation = F.relu,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.norm_first = norm_first
        self.self_attention = MultiHeadAttention(dim, num_heads, dropout=dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, activation=activation, dropout=dropout)
        self.self_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, T, C)``; ``mask`` and ``causal`` as for ``MultiHeadAttention``."""
        x = _residual(self, x, self.self_norm, lambda y: self.self_attention(y, mask=mask, causal=causal))
        return _residual(self, x, self.feedforward_norm, self.feedforward)


class TransformerDecoderLayer(nn.Module):
    """Self-attention, attention to a memory, feed-forward, each with residual, dropout and LayerNorm.

    The memory enters as it is: pre-norm normalises the queries only, as in ``torch.nn``.

    Args:
        dim: Width, ``C``.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward part.
        norm_first: LayerNorm before each part (pre-norm) instead of after each sum (post-norm).
        activation: Of the feed-forward part.
        dropout: In attention weights, feed-forward and residual branches.

    Example:
        >>> import torch
        >>> layer = TransformerDecoderLayer(8, num_heads=2, feedforward_dim=16)
        >>> layer(torch.randn(2, 5, 8), memory=torch.randn(2, 7, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        *,
        norm_first: bool = False,
        activation: Activation = F.relu,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.norm_first = norm_first
        self.self_attention = MultiHeadAttention(dim, num_heads, dropout=dropout)
        self.cross_attention = MultiHeadAttention(dim, num_heads, dropout=dropout)
        self.feedforward = FeedForward(dim, feedforward_dim, activation=activation, dropout=dropout)
        self.self_norm = nn.LayerNorm(dim)
        self.cross_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue,
        *,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, T, C)``.

        Args:
            x: The sequence, ``(B, T, C)``.
            memory: What cross-attention looks at, ``(B, T', C)``, or what ``cross_attention.project`` made of it.
            mask: For self-attention, see ``MultiHeadAttention``.
            memory_mask: For cross-attention.
            causal: Whether self-attention looks back only.
        """
        return self.attend_memory(self.attend_self(x, mask=mask, causal=causal), memory, mask=memory_mask)

    def attend_self(self, x: Tensor, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """The first part of ``forward``: self-attention."""
        return _residual(self, x, self.self_norm, lambda y: self.self_attention(y, mask=mask, causal=causal))

    def attend_memory(self, x: Tensor, memory: Tensor | KeyValue, *, mask: Tensor | None = None) -> Tensor:
        """The rest of ``forward``: attention to the memory, and feed-forward."""
        keys = memory if isinstance(memory, KeyValue) else self.cross_attention.project(memory)
        x = _residual(self, x, self.cross_norm, lambda y: self.cross_attention.attend(y, keys, mask=mask))
        return _residual(self, x, self.feedforward_norm, self.feedforward)


def _residual(
    layer: TransformerEncoderLayer | TransformerDecoderLayer,
    x: Tensor,
    norm: nn.Module,
    branch: Callable[[Tensor], Tensor],
) -> Tensor:
    """Add a branch to ``x``, with the norm before the branch or after the sum."""
    y: Tensor = x + layer.dropout(branch(norm(x))) if layer.norm_first else norm(x + layer.dropout(branch(x)))
    return y
