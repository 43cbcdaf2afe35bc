"""Attention whose cost grows with the length, not with its square."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LinearAttention"]

_MASKED = -1e6  # as published; a clip with nothing but masked frames then stays finite


class LinearAttention(nn.Module):
    """Every frame reads one summary of the clip, a matrix for each head.

    The keys of a head, softmaxed over *time*, weigh the values into a ``(C/H, C/H)`` summary, from which each query,
    softmaxed over its own channels, reads. There is no scaling and no output projection. It sees all frames at once, so
    it can neither be made causal nor be streamed.

    Args:
        dim: Width, ``C``.
        num_heads: Into how many heads the channels are cut.

    Raises:
        ValueError: If the heads do not divide the width.

    Example:
        >>> import torch
        >>> LinearAttention(8, num_heads=2)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])

    Reference:
        Shen et al., "Efficient Attention: Attention with Linear Complexities", WACV 2021.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"`dim` must be a multiple of `num_heads`; got dim={dim}, num_heads={num_heads}.")
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(dim, 3 * dim)  # one product reads the input once

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, T, C)``.

        Args:
            x: The sequence.
            mask: True where a frame may be looked at, ``(B, T)``.
        """
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)) for part in self.query_key_value(x).chunk(3, -1))
        if mask is not None:
            hidden = ~mask[..., None, None]
            key, value = key.masked_fill(hidden, _MASKED), value.masked_fill(hidden, 0.0)
        summary = key.softmax(dim=1).permute(0, 2, 3, 1) @ value.transpose(1, 2)  # (B, H, C/H, C/H)
        read = query.softmax(dim=-1).transpose(1, 2) @ summary
        y: Tensor = read.transpose(1, 2).flatten(-2)
        return y
