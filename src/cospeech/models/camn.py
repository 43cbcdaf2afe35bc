"""CaMN: gestures of the upper body from audio, then hands from audio and body, in the audio-only form for BEAT2.

Motion is ``(B, F, 258)`` at 15 frames per second: Rot6D rows of 43 joints, upper body then hands. A clip is one forward
pass. The audio features lie 1080 samples apart where a frame lasts 1066.7, so ``F`` falls behind the audio: 149 frames
for 10 s.

Reference:
    Liu et al., "BEAT: A Large-Scale Semantic and Emotional Multi-Modal Dataset for Conversational Gestures Synthesis",
    ECCV 2022; the structure is that of the published program for BEAT2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import FeedForward, SummedBidirectionalLSTM, WaveEncoder

__all__ = ["CamnConfig", "CamnModel", "leaky_mlp", "seed_channels"]

WAVE_STRIDES = (5, 6, 1, 6, 1, 6)


@dataclass(frozen=True, kw_only=True)
class CamnConfig:
    """Sizes; the defaults are the published ones."""

    body_dim: int = 78
    hands_dim: int = 180
    audio_dim: int = 128
    speaker_dim: int = 16
    num_speakers: int = 1
    hidden_dim: int = 512
    num_layers: int = 4
    seed_frames: int = 4
    dropout: float = 0.1

    @property
    def motion_dim(self) -> int:
        """Channels of a frame."""
        return self.body_dim + self.hands_dim


class CamnModel(nn.Module):
    """Speech to body, speech and body to hands.

    Example:
        >>> model = CamnModel(CamnConfig(hidden_dim=16, num_layers=1)).eval()
        >>> model(torch.randn(1, 48000), torch.tensor([0])).shape
        torch.Size([1, 45, 258])
    """

    def __init__(self, config: CamnConfig):
        super().__init__()
        self.config = config
        in_dim, dim = config.audio_dim + config.speaker_dim + config.motion_dim + 1, config.hidden_dim
        self.wave = WaveEncoder(config.audio_dim, strides=WAVE_STRIDES)
        self.speaker = nn.Embedding(config.num_speakers, config.speaker_dim)
        self.body = SummedBidirectionalLSTM(in_dim, dim, config.num_layers, dropout=config.dropout)
        self.body_out = leaky_mlp(dim, dim, config.body_dim)
        self.hands = SummedBidirectionalLSTM(in_dim + config.body_dim, dim, config.num_layers, dropout=config.dropout)
        self.hands_out = leaky_mlp(dim, dim, config.hands_dim)

    def forward(self, audio: Tensor, speaker: Tensor, seed: Tensor | None = None) -> Tensor:
        """Motion for whole clips.

        Args:
            audio: Waveforms at 16 kHz, ``(B, S)``.
            speaker: Integers, ``(B,)``.
            seed: How the motion begins, ``(B, seed_frames, motion_dim)``.

        Returns:
            ``(B, F, motion_dim)``.

        Raises:
            ValueError: If a shape does not fit.
        """
        check_shape("audio", audio, "B S")
        check_shape("speaker", speaker, f"{len(audio)}")
        features = self.wave(audio[:, None])
        num_frames = features.shape[1]
        style = self.speaker(speaker)[:, None].expand(-1, num_frames, -1)
        known = seed_channels(seed, features, self.config.seed_frames, self.config.motion_dim)
        x = torch.cat([features, style, known], dim=-1)
        body = self.body_out(self.body(x))
        hands = self.hands_out(self.hands(torch.cat([x, body], dim=-1)))
        return torch.cat([body, hands], dim=-1)


def seed_channels(seed: Tensor | None, features: Tensor, seed_frames: int, motion_dim: int) -> Tensor:
    """What a clip is told of its motion: the seed and a flag in the first frames, zeros in all others.

    Args:
        seed: ``(B, seed_frames, motion_dim)``; zeros, though flagged, when not given.
        features: What the frames hear, ``(B, F, C)``; tells their number.
        seed_frames: Frames that are flagged.
        motion_dim: Channels of the motion.

    Returns:
        ``(B, F, motion_dim + 1)``.

    Raises:
        ValueError: If the seed has another shape.
    """
    known = features.new_zeros(*features.shape[:2], motion_dim + 1)
    known[:, :seed_frames, -1] = 1
    if seed is not None:
        check_shape("seed", seed, f"{len(features)} {seed_frames} {motion_dim}")
        known[:, :seed_frames, :-1] = seed[:, : features.shape[1]]
    return known


def leaky_mlp(dim: int, hidden_dim: int, out_dim: int) -> FeedForward:
    """Two layers with leaky ReLU of slope 0.1 between."""
    return FeedForward(dim, hidden_dim, out_dim=out_dim, activation=partial(F.leaky_relu, negative_slope=0.1))
