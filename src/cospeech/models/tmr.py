"""What trains MotionStreamer's evaluator: its decoder, and the three networks that learn together.

The decoder takes a point of the joint space of texts and motions back to features. It is needed for training only; the
two encoders stand on the page ``text_motion_evaluator``.

Reference:
    Petrovich et al., "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human Motion Synthesis", ICCV 2023; Xiao et
    al., "MotionStreamer", ICCV 2025 (the program).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.text_motion_evaluator import EvaluatorConfig, MotionEvaluator, NormalDistribution
from cospeech.nn import SinusoidalPositionalEncoding, TransformerDecoderLayer

__all__ = ["EvaluatorDecoder", "TextMotionConfig", "TextMotionNetworks"]


@dataclass(frozen=True, kw_only=True)
class TextMotionConfig:
    """Sizes of the evaluator in training.

    Attributes:
        encoder: Of the motion encoder; of the text encoder and the decoder too.
        text_dim: Width of the language model's hidden states.
    """

    encoder: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    text_dim: int = 768


class EvaluatorDecoder(nn.Module):
    """Latents to sequences of given lengths; every frame starts as its position alone.

    Args:
        config: Sizes; ``input_dim`` is the width of the features that come out.

    Example:
        >>> decoder = EvaluatorDecoder(EvaluatorConfig(num_layers=1)).eval()
        >>> decoder(torch.randn(2, 256), torch.tensor([28, 20])).shape
        torch.Size([2, 28, 272])
    """

    def __init__(self, config: EvaluatorConfig):
        super().__init__()
        self.config = config
        self.positions = SinusoidalPositionalEncoding(config.dim)
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(config.dim, config.num_heads, config.feedforward_dim, activation=F.gelu)
            for _ in range(config.num_layers)
        )
        self.out = nn.Linear(config.dim, config.input_dim)

    def forward(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Features ``(B, max(lengths), C)``, zero behind each row's length.

        Args:
            latents: ``(B, C')``.
            lengths: Frames of each row, ``(B)``.
        """
        check_shape("latents", latents, f"B {self.config.dim}")
        check_shape("lengths", lengths, f"{len(latents)}")
        num_frames = int(lengths.max())
        mask = torch.arange(num_frames, device=latents.device) < lengths.to(latents.device)[:, None]
        x = self.positions(latents.new_zeros(len(latents), num_frames, self.config.dim))
        for layer in self.layers:
            x = layer(x, latents[:, None], mask=mask[:, None, None])
        features: Tensor = self.out(x) * mask[..., None]
        return features


class TextMotionNetworks(nn.Module):
    """The networks that learn: both encoders and the decoder. The language model is frozen, and not among them.

    Example:
        >>> small = EvaluatorConfig(dim=32, num_layers=1, feedforward_dim=64)
        >>> networks = TextMotionNetworks(TextMotionConfig(encoder=small, text_dim=16))
        >>> networks.encode_text(torch.randn(2, 5, 16), torch.tensor([5, 3])).mean.shape
        torch.Size([2, 32])
    """

    def __init__(self, config: TextMotionConfig):
        super().__init__()
        self.config = config
        self.motion = MotionEvaluator(config.encoder)
        self.text = MotionEvaluator(dataclasses.replace(config.encoder, input_dim=config.text_dim))
        self.decoder = EvaluatorDecoder(config.encoder)

    def encode_text(self, hidden: Tensor, lengths: Tensor) -> NormalDistribution:
        """Distributions of texts from the language model's hidden states, ``(B, L, C)``, and numbers of tokens."""
        distribution: NormalDistribution = self.text(F.relu(hidden), lengths)
        return distribution
