"""Content-rhythm attention: how much of what is said and how much of how it sounds, frame by frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ContentRhythmAttention"]


class ContentRhythmAttention(nn.Module):
    """A convex mix of content and rhythm features, weighed by both.

    The paper weighs each frame with one number from a two-layer network; the earlier published program with one
    number per channel from a single layer. Both are here: ``hidden_dim`` and ``per_channel``.

    Args:
        dim: Width of both features, ``C``.
        hidden_dim: Width between the two layers that make the weights; a single layer when not given.
        per_channel: Whether every channel has weights of its own.

    Example:
        >>> attention = ContentRhythmAttention(8, hidden_dim=16, per_channel=False)
        >>> attention(content=torch.randn(2, 64, 8), rhythm=torch.randn(2, 64, 8)).shape
        torch.Size([2, 64, 8])

    Reference:
        Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
        Modeling", CVPR 2024 (content-rhythm self-attention).
    """

    def __init__(self, dim: int, *, hidden_dim: int | None = None, per_channel: bool = True):
        super().__init__()
        num_weights = 2 * (dim if per_channel else 1)
        layers: list[nn.Module] = [nn.Linear(hidden_dim or 2 * dim, num_weights)]
        if hidden_dim is not None:
            layers = [nn.Linear(2 * dim, hidden_dim), nn.LeakyReLU(0.1), *layers]
        self.weigh = nn.Sequential(*layers)

    def forward(self, content: Tensor, rhythm: Tensor) -> Tensor:
        """Mix two sequences ``(B, T, C)`` of the same frames into one.

        Raises:
            ValueError: If their shapes differ.
        """
        if content.shape != rhythm.shape:
            raise ValueError(
                f"`content` and `rhythm` must be alike; got {tuple(content.shape)} and {tuple(rhythm.shape)}."
            )
        weights = self.weights(content, rhythm)
        return rhythm * weights[..., 0] + content * weights[..., 1]

    def weights(self, content: Tensor, rhythm: Tensor) -> Tensor:
        """Weights of rhythm, then content, with sum 1: ``(B, T, C, 2)``, or ``(B, T, 1, 2)`` for whole frames."""
        scores: Tensor = self.weigh(torch.cat([content, rhythm], dim=-1))
        return scores.reshape(*scores.shape[:-1], -1, 2).softmax(-1)
