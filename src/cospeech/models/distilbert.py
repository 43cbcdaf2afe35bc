"""DistilBERT: the sentence encoder behind MotionStreamer's text evaluator, without its tokenizer.

Reference:
    Sanh et al., "DistilBERT, a distilled version of BERT", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import TransformerEncoderLayer

__all__ = ["DistilBert", "DistilBertConfig"]

_NORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig:
    """Sizes; the defaults are those of ``distilbert-base-uncased``."""

    vocabulary: int = 30_522
    max_tokens: int = 512
    dim: int = 768
    num_layers: int = 6
    num_heads: int = 12
    feedforward_dim: int = 3072


class DistilBert(nn.Module):
    """Token numbers to hidden states.

    Example:
        >>> model = DistilBert(DistilBertConfig(vocabulary=10, dim=8, num_layers=1, num_heads=2, feedforward_dim=16))
        >>> model(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, config: DistilBertConfig):
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.dim)
        self.positions = nn.Embedding(config.max_tokens, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=_NORM_EPS)
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(config.dim, config.num_heads, config.feedforward_dim, activation=F.gelu)
            for _ in range(config.num_layers)
        )
        for module in self.layers.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = _NORM_EPS

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states ``(B, L, C)`` of the last layer.

        Args:
            tokens: Token numbers, ``(B, L)``.
            mask: True where there is a token, ``(B, L)``.
        """
        check_shape("tokens", tokens, "B L")
        if tokens.shape[1] > self.config.max_tokens:
            raise ValueError(f"`tokens` must be {self.config.max_tokens} at most; got {tokens.shape[1]}.")
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x: Tensor = self.norm(self.words(tokens) + self.positions(positions))
        seen = None if mask is None else mask.bool()[:, None, None]
        for layer in self.layers:
            x = layer(x, mask=seen)
        return x
