"""DisCo: gestures of upper body and hands from audio, content and rhythm told apart, in the audio-only form for BEAT2.

Motion, clock and seed are those of ``CamnModel``.

Reference:
    Liu et al., "DisCo: Disentangled Implicit Content and Rhythm Learning for Diverse Co-Speech Gestures Synthesis",
    ACM MM 2022; the structure is that of the published program for BEAT2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.camn import WAVE_STRIDES, leaky_mlp, seed_channels
from cospeech.nn import SummedBidirectionalLSTM, WaveEncoder

__all__ = ["DiscoConfig", "DiscoModel", "DiscoOutput"]


@dataclass(frozen=True, kw_only=True)
class DiscoConfig:
    """Sizes; the defaults are the published ones."""

    motion_dim: int = 258
    audio_dim: int = 128
    speaker_dim: int = 16
    num_speakers: int = 1
    hidden_dim: int = 512
    num_layers: int = 4
    seed_frames: int = 4
    dropout: float = 0.1


class DiscoOutput(NamedTuple):
    """Motion ``(B, F, motion_dim)``, and the features ``(B, F, audio_dim)`` that contrastive losses keep apart."""

    motion: Tensor
    content: Tensor
    rhythm: Tensor


class DiscoModel(nn.Module):
    """Speech to content and rhythm, these to motion.

    Example:
        >>> model = DiscoModel(DiscoConfig(hidden_dim=16, num_layers=1)).eval()
        >>> model(torch.randn(1, 48000), torch.tensor([0])).motion.shape
        torch.Size([1, 45, 258])
    """

    def __init__(self, config: DiscoConfig):
        super().__init__()
        self.config = config
        audio_dim, dim = config.audio_dim, config.hidden_dim
        self.wave = WaveEncoder(audio_dim, strides=WAVE_STRIDES)
        self.speaker = nn.Embedding(config.num_speakers, config.speaker_dim)
        self.contents = nn.ModuleList(leaky_mlp(audio_dim, dim, audio_dim) for _ in range(2))
        self.choice = leaky_mlp(audio_dim, dim, 2)
        self.rhythm = leaky_mlp(audio_dim, dim, audio_dim)
        in_dim = 2 * audio_dim + config.speaker_dim + config.motion_dim + 1
        self.motion = SummedBidirectionalLSTM(in_dim, dim, config.num_layers, dropout=config.dropout)
        self.motion_out = leaky_mlp(dim, dim, config.motion_dim)

    def forward(self, audio: Tensor, speaker: Tensor, seed: Tensor | None = None) -> DiscoOutput:
        """Motion for whole clips; arguments and errors as for ``CamnModel.forward``."""
        check_shape("audio", audio, "B S")
        check_shape("speaker", speaker, f"{len(audio)}")
        features = self.wave(audio[:, None])
        weights = self.choice(features).softmax(-1)
        first, second = (encode(features) for encode in self.contents)
        content = weights[..., :1] * first + weights[..., 1:] * second
        rhythm = self.rhythm(features)
        style = self.speaker(speaker)[:, None].expand(-1, features.shape[1], -1)
        known = seed_channels(seed, features, self.config.seed_frames, self.config.motion_dim)
        motion = self.motion_out(self.motion(torch.cat([content, rhythm, style, known], dim=-1)))
        return DiscoOutput(motion, content, rhythm)
