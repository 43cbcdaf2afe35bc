"""The evaluator of text-to-motion on 272 numbers per frame: texts and motions to distributions in one space.

A sequence goes through a transformer with two learned tokens in front, which come out as mean and log variance. The
metrics take the means.

Reference:
    Petrovich et al., "TMR", ICCV 2023; this evaluator is that of Xiao et al., MotionStreamer, ICCV 2025
    (``Evaluator_272``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.distilbert import DistilBert, DistilBertConfig
from cospeech.nn import SinusoidalPositionalEncoding, TransformerEncoderLayer

__all__ = [
    "EvaluatorConfig",
    "MotionEvaluator",
    "NormalDistribution",
    "TextEvaluator",
    "TextEvaluatorConfig",
]


class NormalDistribution(NamedTuple):
    """Independent normal distributions, ``(B, C)`` each."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True, kw_only=True)
class EvaluatorConfig:
    """Sizes of the sequence encoder."""

    input_dim: int = 272
    dim: int = 256
    num_layers: int = 4
    num_heads: int = 4
    feedforward_dim: int = 1024


@dataclass(frozen=True, kw_only=True)
class TextEvaluatorConfig:
    """Sizes of the text encoder."""

    bert: DistilBertConfig = field(default_factory=DistilBertConfig)
    encoder: EvaluatorConfig = field(default_factory=lambda: EvaluatorConfig(input_dim=768))


class MotionEvaluator(nn.Module):
    """Sequences to distributions: motions of 272 numbers a frame, normalised.

    Frames beyond a motion's length are not looked at, so padding to a common length changes nothing (the published
    program pads to 300 frames).

    Example:
        >>> model = MotionEvaluator(EvaluatorConfig()).eval()
        >>> model(torch.randn(2, 40, 272), torch.tensor([40, 24])).mean.shape
        torch.Size([2, 256])
    """

    def __init__(self, config: EvaluatorConfig):
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.input_dim, config.dim)
        self.mean_token = nn.Parameter(torch.randn(config.dim))
        self.log_variance_token = nn.Parameter(torch.randn(config.dim))
        self.positions = SinusoidalPositionalEncoding(config.dim)
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(config.dim, config.num_heads, config.feedforward_dim, activation=F.gelu)
            for _ in range(config.num_layers)
        )

    def forward(self, sequence: Tensor, lengths: Tensor | None = None) -> NormalDistribution:
        """The distribution of each sequence.

        Args:
            sequence: ``(B, T, C)``.
            lengths: How many frames of each count, ``(B)``; all by default.
        """
        check_shape("sequence", sequence, f"B T {self.config.input_dim}")
        frames = torch.arange(sequence.shape[1], device=sequence.device)
        mask = None if lengths is None else frames < lengths.to(sequence.device)[:, None]
        return self.encode(sequence, mask)

    def encode(self, sequence: Tensor, mask: Tensor | None) -> NormalDistribution:
        """The same with a mask, True where a frame counts, ``(B, T)``."""
        x = self.project(sequence)
        tokens = torch.stack([self.mean_token, self.log_variance_token]).expand(len(x), 2, -1)
        x = self.positions(torch.cat([tokens, x], dim=1))
        seen = None if mask is None else F.pad(mask.bool(), (2, 0), value=True)[:, None, None]
        for layer in self.layers:
            x = layer(x, mask=seen)
        return NormalDistribution(x[:, 0], torch.exp(x[:, 1] / 2))


class TextEvaluator(nn.Module):
    """Tokens to distributions in the space of ``MotionEvaluator``; the tokenizer is DistilBERT's, not part of this."""

    def __init__(self, config: TextEvaluatorConfig):
        super().__init__()
        self.config = config
        self.bert = DistilBert(config.bert)
        self.encoder = MotionEvaluator(config.encoder)

    def forward(self, tokens: Tensor, mask: Tensor) -> NormalDistribution:
        """The distribution of each text, from token numbers and the tokenizer's mask, ``(B, L)`` each."""
        return self.encoder.encode(F.relu(self.bert(tokens, mask)), mask)
