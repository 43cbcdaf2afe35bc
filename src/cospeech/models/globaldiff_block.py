"""A block of GlobalDiff's denoiser, and what it is told besides its tokens.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; the structure is that of the published program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn import AdaptiveModulation, FeedForward, KeyValue, Modulation, MultiHeadAttention, modulate

__all__ = ["BlockConditioning", "Conditioning", "Modulations", "SeededDiTBlock", "StreamInputs", "plain_layer_norm"]


class Modulations(NamedTuple):
    """What speaker and times say to the blocks of each stream: for each block, its three branches."""

    hand: tuple[tuple[Modulation, ...], ...]
    body: tuple[tuple[Modulation, ...], ...]


class BlockConditioning(NamedTuple):
    """What one block takes from speaker, time and seed."""

    attention: Modulation
    feedforward: Modulation
    seed: KeyValue

    def unbind(self) -> tuple[BlockConditioning, ...]:
        """One conditioning for each entry of the leading axis."""
        rows = zip(*(tensor.unbind() for part in self for tensor in part), strict=True)
        return tuple(BlockConditioning(Modulation(*row[:3]), Modulation(*row[3:6]), KeyValue(*row[6:])) for row in rows)


class StreamInputs(NamedTuple):
    """What the tokens of one stream take from expressions and audio.

    Attributes:
        expression: Share of the expressions in the motion input, ``(B, T, C)``.
        audio: Share of the audio and the positions in the tokens, ``(B, T, C)``.
    """

    expression: Tensor
    audio: Tensor


class Conditioning(NamedTuple):
    """What the denoiser needs besides the noisy window.

    Attributes:
        hand: For the tokens of the hand stream.
        body: For the tokens of the body stream.
        steps: For each time that was prepared, for hand and body, for each block.
    """

    hand: StreamInputs
    body: StreamInputs
    steps: tuple[tuple[tuple[BlockConditioning, ...], ...], ...]

    @classmethod
    def by_time(
        cls, hand: StreamInputs, body: StreamInputs, of_hand: list[BlockConditioning], of_body: list[BlockConditioning]
    ) -> Conditioning:
        """From the conditionings of each stream's blocks, whose leading axis is that of the times."""
        streams = (zip(*(block.unbind() for block in stream), strict=True) for stream in (of_hand, of_body))
        return cls(hand, body, tuple(zip(*streams, strict=True)))


class SeededDiTBlock(nn.Module):
    """A post-norm transformer block, modulated by time and speaker, whose first frames look at the seed frames.

    Args:
        dim: Width of tokens, seed tokens and conditioning vector.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward part.
        num_seed_frames: How many leading tokens look at the seed.

    Example:
        >>> block = SeededDiTBlock(8, num_heads=2, feedforward_dim=16, num_seed_frames=2)
        >>> modulations = block.modulation(torch.randn(1, 8))
        >>> conditioning = block.condition(torch.randn(1, 2, 8), modulations)
        >>> block(torch.randn(1, 5, 8), conditioning).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, *, num_seed_frames: int):
        super().__init__()
        self.num_seed_frames = num_seed_frames
        self.modulation = AdaptiveModulation(dim, dim, num_branches=3)
        self.self_attention = MultiHeadAttention(dim, num_heads)
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.feedforward = FeedForward(dim, feedforward_dim)
        self.seed_feedforward = FeedForward(dim, dim)

    def condition(self, seed: Tensor, modulations: tuple[Modulation, ...]) -> BlockConditioning:
        """What the block takes from all but its tokens.

        Args:
            seed: Seed tokens, ``(B, num_seed_frames, C)``.
            modulations: What ``modulation`` makes of the conditioning vectors ``(..., B, C)``.
        """
        attention, feedforward, branch = modulations
        hidden = modulate(plain_layer_norm(seed), branch)
        seed = torch.addcmul(seed, branch.gate, self.seed_feedforward(hidden))
        return BlockConditioning(attention, feedforward, self.cross_attention.project(seed))

    def forward(self, x: Tensor, conditioning: BlockConditioning) -> Tensor:
        """Map tokens ``(B, T, C)`` to ``(B, T, C)``."""
        attention, feedforward, seed = conditioning
        head = self.cross_attention.attend(x[:, : self.num_seed_frames], seed)
        x = _AddToHead.apply(x, head)  # type: ignore[no-untyped-call]
        x = plain_layer_norm(torch.addcmul(x, attention.gate, self.self_attention(modulate(x, attention))))
        return plain_layer_norm(torch.addcmul(x, feedforward.gate, self.feedforward(modulate(x, feedforward))))


class _AddToHead(torch.autograd.Function):
    """Tokens ``(B, T, C)`` plus ``(B, F, C)`` on the first of them; its gradient is that of the sum, uncopied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor) -> Tensor:
        ctx.num_frames = head.shape[1]
        y = x.clone()
        y[:, : head.shape[1]] += head
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient[:, : ctx.num_frames]


def plain_layer_norm(x: Tensor) -> Tensor:
    """LayerNorm over the last axis, without weights."""
    return F.layer_norm(x, x.shape[-1:])
