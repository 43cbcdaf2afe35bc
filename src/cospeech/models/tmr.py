"""The decoder of MotionStreamer's evaluator: a point of the joint space of texts and motions back to features.

Needed to train the evaluator only; its two encoders stand on the page ``text_motion_evaluator``.

Reference:
    Petrovich et al., "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human Motion Synthesis", ICCV 2023; Xiao et
    al., "MotionStreamer", ICCV 2025 (the program).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.text_motion_evaluator import EvaluatorConfig
from cospeech.nn import SinusoidalPositionalEncoding, TransformerDecoderLayer

__all__ = ["EvaluatorDecoder"]


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
