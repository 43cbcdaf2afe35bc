"""The layers of DiffSHEG's networks: attention and feed-forward under a style, and the fusion of motion with speech.

Fusion is a perceptron over the LayerNorm of concatenated vectors, of which only the motion changes between two looks at
a window. A LayerNorm is a shift and a scale, both known from the moments of its parts, so the first product splits:

    W LN([h, s]) = r (W_h (g_h h) + W_s (g_s s) - m W g) + W b,    m, 1 / r^2: mean and variance of [h, s]

``W_s (g_s s)``, ``W g`` and ``W b`` are worked out once for a window; the sum is the same.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024, section 3.3; the structure is that of the published program.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn import FeedForward, Film, LinearAttention, Stylization

__all__ = ["FusionShare", "LayerFilms", "Moments", "MotionSpeechFusion", "StylizedLayer", "moments"]


class LayerFilms(NamedTuple):
    """The styles of one layer."""

    attention: Film
    feedforward: Film

    def unbind(self) -> tuple[LayerFilms, ...]:
        """One for each entry of the leading axis."""
        rows = zip(*(tensor.unbind() for film in self for tensor in film), strict=True)
        return tuple(LayerFilms(Film(*row[:2]), Film(*row[2:])) for row in rows)

    def repeat(self, count: int) -> LayerFilms:
        """The films for a batch that is repeated; those that serve any batch are left as they are."""
        if self.attention.scale.shape[0] == 1:
            return self
        return LayerFilms(*(Film(*(tensor.repeat(count, 1, 1) for tensor in film)) for film in self))


class StylizedLayer(nn.Module):
    """Linear attention, then feed-forward, each a residual branch that ends in a stylization.

    Args:
        dim: Width, ``C``.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward part.
        condition_dim: Width of the vector that the style comes from.

    Example:
        >>> layer = StylizedLayer(8, 2, 16, condition_dim=32)
        >>> films = layer.films(F.silu(torch.randn(3, 32)))
        >>> layer(torch.randn(3, 5, 8), films).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, *, condition_dim: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = LinearAttention(dim, num_heads)
        self.attention_style = Stylization(dim, condition_dim)
        self.feedforward = FeedForward(dim, feedforward_dim)
        self.feedforward_style = Stylization(dim, condition_dim)
        nn.init.zeros_(self.feedforward.contract.weight)
        nn.init.zeros_(self.feedforward.contract.bias)

    def films(self, activated: Tensor) -> LayerFilms:
        """The layer's styles from ``SiLU(condition)``, ``(..., B, C)``."""
        return LayerFilms(self.attention_style.film(activated), self.feedforward_style.film(activated))

    def attend(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """What attention says, before its style; ``(B, T, C)`` to ``(B, T, C)``."""
        y: Tensor = self.attention(self.attention_norm(x), mask=mask)
        return y

    def add_branches(self, x: Tensor, attended: Tensor, films: LayerFilms) -> Tensor:
        """``x`` with both branches added, given what ``attend`` said; all ``(..., T, C)``."""
        x = x + self.attention_style(attended, films.attention)
        y: Tensor = x + self.feedforward_style(self.feedforward(x), films.feedforward)
        return y

    def forward(self, x: Tensor, films: LayerFilms, *, mask: Tensor | None = None) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, T, C)``; the mask ``(B, T)`` is True where a frame may be looked at."""
        return self.add_branches(x, self.attend(x, mask=mask), films)


class Moments(NamedTuple):
    """Mean and variance ``(..., T, 1)`` over ``width`` channels of each frame."""

    mean: Tensor
    variance: Tensor
    width: int

    def merge(self, other: Moments) -> Moments:
        """The moments over the channels of both."""
        width = self.width + other.width
        share, rest = other.width / width, self.width / width
        gap = other.mean - self.mean
        variance = torch.add(self.variance * rest, other.variance, alpha=share)
        return Moments(
            torch.add(self.mean, gap, alpha=share), torch.add(variance, gap.square(), alpha=share * rest), width
        )


def moments(x: Tensor) -> Moments:
    """The moments of ``(..., T, C)``."""
    mean = x.mean(dim=-1, keepdim=True)
    centred = x - mean
    # Not torch.var_mean, which takes eight times as long over a last axis of 512.
    return Moments(mean, (centred * centred).mean(dim=-1, keepdim=True), x.shape[-1])


class FusionShare(NamedTuple):
    """What a fusion takes from everything but the motion.

    Attributes:
        speech: Share of audio and speech features in the first product, ``(..., T, C)``.
        slope: What the product says to a frame of ones, ``(C,)``.
        constant: What it says to nothing at all, ``(C,)``.
        unconditional: What the fusion gives for the vector that stands for no condition, ``(dim,)``.
    """

    speech: Tensor
    slope: Tensor
    constant: Tensor
    unconditional: Tensor | None


class MotionSpeechFusion(nn.Module):
    """``Linear(SiLU(Linear(LayerNorm([motion, audio, speech, estimate]))))``, cut into what moves and what does not.

    Args:
        dim: Width of the motion tokens and of the result.
        audio_dim: Width of the audio features.
        speech_dim: Width of the encoded speech features.
        estimate_dim: Width of the other branch's estimated motion; 0 where there is none.
        hidden_dim: Width between.

    Example:
        >>> fusion = MotionSpeechFusion(8, audio_dim=4, speech_dim=3, estimate_dim=2, hidden_dim=16)
        >>> motion, audio, speech, estimate = (torch.randn(1, 5, width) for width in (8, 4, 3, 2))
        >>> context = moments(torch.cat([audio, speech, estimate], -1))
        >>> fused = fusion(motion, fusion.prepare(audio, speech), context, estimate)
        >>> torch.allclose(fused, fusion.plain(torch.cat([motion, audio, speech, estimate], -1)), atol=1e-5)
        True
    """

    def __init__(self, dim: int, *, audio_dim: int, speech_dim: int, estimate_dim: int = 0, hidden_dim: int):
        super().__init__()
        self.widths = [dim, audio_dim, speech_dim, estimate_dim]
        self.norm = nn.LayerNorm(sum(self.widths))
        self.motion_in = nn.Linear(dim, hidden_dim, bias=False)
        self.audio_in = nn.Linear(audio_dim, hidden_dim, bias=False)
        self.speech_in = nn.Linear(speech_dim, hidden_dim, bias=False)
        self.estimate_in = nn.Linear(estimate_dim, hidden_dim, bias=False) if estimate_dim else None
        self.bias = nn.Parameter(torch.empty(hidden_dim))
        self.out = nn.Linear(hidden_dim, dim)
        bound = sum(self.widths) ** -0.5  # the values of one layer over the concatenated inputs
        for parameter in (*(part.weight for part in self._parts()), self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def plain(self, fused_in: Tensor) -> Tensor:
        """The fusion as its formula has it, of concatenated vectors ``(..., P)``."""
        return self._finish(self._project(self.norm(fused_in)) + self.bias)

    def prepare(self, audio: Tensor, speech: Tensor, null: Tensor | None = None) -> FusionShare:
        """What does not depend on the motion.

        Args:
            audio: ``(..., T, audio_dim)``.
            speech: ``(B, T, speech_dim)``.
            null: The vector that stands for no condition, ``(1, P)``.
        """
        _, audio_gain, speech_gain, _ = self._gains()
        return FusionShare(
            speech=self.audio_in(audio * audio_gain).add_(self.speech_in(speech * speech_gain)),
            slope=self._project(self.norm.weight[None])[0],
            constant=self._project(self.norm.bias[None])[0] + self.bias,
            unconditional=None if null is None else self.plain(null)[0],
        )

    def forward(self, motion: Tensor, share: FusionShare, context: Moments, estimate: Tensor | None = None) -> Tensor:
        """Fuse motion tokens ``(B, T, dim)``.

        Args:
            motion: The tokens.
            share: What ``prepare`` made.
            context: Moments of audio, speech and estimate together.
            estimate: The other branch's estimate, ``(B, T, estimate_dim)``.
        """
        motion_gain, _, _, estimate_gain = self._gains()
        hidden = self.motion_in(motion * motion_gain) + share.speech
        if self.estimate_in is not None:
            assert estimate is not None
            hidden = hidden + self.estimate_in(estimate * estimate_gain)
        whole = context.merge(moments(motion))
        hidden = torch.addcmul(hidden, whole.mean, share.slope, value=-1)
        return self._finish(torch.addcmul(share.constant, hidden, (whole.variance + self.norm.eps).rsqrt()))

    def _gains(self) -> tuple[Tensor, ...]:
        return torch.split(self.norm.weight, self.widths)

    def _parts(self) -> list[nn.Linear]:
        parts = (self.motion_in, self.audio_in, self.speech_in, self.estimate_in)
        return [part for part in parts if part is not None]

    def _project(self, x: Tensor) -> Tensor:
        pieces = torch.split(x, self.widths, dim=-1)
        # Left to right, since a sum() would start from the integer 0.
        y: Tensor = self.motion_in(pieces[0]) + self.audio_in(pieces[1]) + self.speech_in(pieces[2])
        return y if self.estimate_in is None else y + self.estimate_in(pieces[3])

    def _finish(self, hidden: Tensor) -> Tensor:
        y: Tensor = self.out(F.silu(hidden))
        return y
