"""GlobalDiff's speech model: facial expressions from audio features, regressed before any motion is sampled.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; the structure is that of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import OneHotEmbedding, SinusoidalPositionalEncoding, TransformerDecoderLayer

__all__ = ["SpeechModel", "SpeechModelConfig", "check_sizes"]


@dataclass(frozen=True, kw_only=True)
class SpeechModelConfig:
    """Sizes of the speech model; the defaults are the published ones."""

    hidden_dim: int = 512
    num_layers: int = 4
    num_heads: int = 4
    feedforward_dim: int = 1024
    feature_dim: int = 1024
    expression_dim: int = 100
    num_speakers: int = 31
    speaker_hidden_dim: int = 128
    speaker_dim: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_sizes(self)


class SpeechModel(nn.Module):
    """Facial expressions from audio features and speaker, frame for frame.

    A pre-norm transformer decoder whose memory is its own input, without a final norm, as published.

    Example:
        >>> config = SpeechModelConfig(hidden_dim=32, num_layers=1, feature_dim=16)
        >>> SpeechModel(config).eval()(torch.randn(1, 60, 16), torch.tensor([2])).shape
        torch.Size([1, 60, 100])
    """

    def __init__(self, config: SpeechModelConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.speaker_embedding = OneHotEmbedding(
            config.num_speakers, hidden_dim=config.speaker_hidden_dim, dim=config.speaker_dim
        )
        self.project = nn.Linear(config.feature_dim + config.speaker_dim, dim)
        self.positions = SinusoidalPositionalEncoding(dim)
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(
                dim, config.num_heads, config.feedforward_dim, norm_first=True, dropout=config.dropout
            )
            for _ in range(config.num_layers)
        )
        self.head = nn.Linear(dim, config.expression_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, speaker: Tensor) -> Tensor:
        """Expressions ``(B, T, expression_dim)`` for features ``(B, T, feature_dim)`` and speakers ``(B,)``.

        Raises:
            ValueError: If a shape does not fit the configuration.
        """
        check_shape("features", features, f"B T {self.config.feature_dim}")
        style = self.speaker_embedding(speaker)[:, None].expand(-1, features.shape[1], -1)
        memory = self.positions(self.project(torch.cat([features, style], dim=-1)))
        x = memory
        for layer in self.layers:
            x = layer(x, memory)
        expressions: Tensor = self.head(x)
        return expressions


def check_sizes(config: Any) -> None:
    """Refuse sizes which no model can have, before anything is built of them."""
    for field in fields(config):
        value = getattr(config, field.name)
        most = 256 if field.name == "num_layers" else 1 << 16
        if isinstance(value, int) and not 1 <= value <= most:
            raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")
