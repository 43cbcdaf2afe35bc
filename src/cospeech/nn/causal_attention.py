"""Self-attention that looks back, by the angle between normalised queries and keys, with a cache of what it saw."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn.rotary import rotate_pairs

__all__ = ["CausalCosineAttention", "KeyValueCache"]


class KeyValueCache(NamedTuple):
    """Keys and values of the positions so far, in memory for as many as there may be.

    Attributes:
        key: Normalised and turned, ``(B, H, capacity, C // H)``.
        value: ``(B, H, capacity, C // H)``.
        length: How many positions are filled.
    """

    key: Tensor
    value: Tensor
    length: int


class CausalCosineAttention(nn.Module):
    """Causal self-attention over rotary positions; scores are ``scale`` times the cosine of query and key.

    Queries and keys are normalised head by head and then turned, which keeps their length. Keys enter the cache so, at
    their own positions, and need never be touched again.

    Args:
        dim: Width, ``C``.
        num_heads: Heads; must divide ``dim``.
        scale: Of the cosines; kept in the state, not trained.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dim``, or heads are of odd width.

    Example:
        >>> from cospeech.nn.rotary import rotary_phases
        >>> attention, x = CausalCosineAttention(8, num_heads=2, scale=5.0), torch.randn(1, 6, 8)
        >>> phases, cache = rotary_phases(6, 4), attention.init_state(batch_size=1, capacity=6)
        >>> pieces = []
        >>> for i in range(6):
        ...     y, cache = attention.step(x[:, i : i + 1], cache, phases[i : i + 1])
        ...     pieces.append(y)
        >>> torch.allclose(torch.cat(pieces, dim=1), attention(x, phases), atol=1e-6)
        True
    """

    scale: Tensor

    def __init__(self, dim: int, num_heads: int, *, scale: float):
        super().__init__()
        if dim % num_heads or dim // num_heads % 2:
            raise ValueError(f"`num_heads` must cut `dim` into even parts; got num_heads={num_heads}, dim={dim}.")
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: Tensor, phases: Tensor) -> Tensor:
        """Map a whole sequence ``(B, T, C)``; ``phases`` from ``rotary_phases``, ``(T, C / H / 2, 2)``."""
        query, key, value = self._project(x, phases)
        return self._out(F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0))

    def init_state(self, batch_size: int, capacity: int) -> KeyValueCache:
        """An empty cache for so many positions."""
        width = self.out.in_features // self.num_heads
        # `scale` tells dtype and device, whatever the linear layers were replaced by.
        memory = self.scale.new_zeros(2, batch_size, self.num_heads, capacity, width)
        return KeyValueCache(memory[0], memory[1], 0)

    def step(self, x: Tensor, cache: KeyValueCache, phases: Tensor) -> tuple[Tensor, KeyValueCache]:
        """Map the next positions ``(B, T, C)``; no gradient flows into the cache.

        Raises:
            ValueError: If they do not fit into the cache.
        """
        start, end = cache.length, cache.length + x.shape[1]
        if end > cache.key.shape[2]:
            raise ValueError(f"`cache` holds {cache.key.shape[2]} positions; {end} are needed.")
        query, key, value = self._project(x, phases)
        cache.key[:, :, start:end], cache.value[:, :, start:end] = key, value
        mask = None
        if x.shape[1] > 1 and start:  # each of several new positions sees what is cached and the new ones up to itself
            mask = torch.ones(end - start, end, dtype=torch.bool, device=x.device).tril(diagonal=start)
        heads = F.scaled_dot_product_attention(
            query,
            cache.key[:, :, :end],
            cache.value[:, :, :end],
            attn_mask=mask,
            is_causal=x.shape[1] > 1 and not start,
            scale=1.0,
        )
        return self._out(heads), KeyValueCache(cache.key, cache.value, end)

    def _project(self, x: Tensor, phases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.query_key_value(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = (rotate_pairs(F.normalize(part, dim=-1), phases) for part in (query, key))
        return query * self.scale, key, value

    def _out(self, heads: Tensor) -> Tensor:
        out: Tensor = self.out(heads.transpose(1, 2).flatten(-2))
        return out
