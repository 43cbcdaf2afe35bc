"""One branch of DiffSHEG's denoiser: the noise in one part of the motion, told of speech, speaker and timestep.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024, section 3.3; the structure is that of the published program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.models.diffsheg_config import DiffSHEGConfig
from cospeech.models.diffsheg_layers import (
    FusionShare,
    LayerFilms,
    Moments,
    MotionSpeechFusion,
    StylizedLayer,
    moments,
)
from cospeech.nn import FeedForward, OneHotEmbedding

__all__ = ["BranchConditioning", "FusionLayer", "MotionBranch", "SpeechConvolutions"]


class BranchConditioning(NamedTuple):
    """What a branch takes from everything but the motion, at one timestep.

    Attributes:
        context: Moments of audio and speech features.
        layers: For each layer its share of the fusion, and its styles.
    """

    context: Moments
    layers: tuple[tuple[FusionShare, LayerFilms], ...]


class SpeechConvolutions(nn.Module):
    """Two convolutions along time over the features of a speech model, ``(B, T, C)`` to ``(B, T, C')``."""

    def __init__(self, feature_dim: int, dim: int):
        super().__init__()
        self.first = nn.Conv1d(feature_dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(dim)
        self.second = nn.Conv1d(dim, dim, kernel_size=3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Encode a window; its neighbours are taken for silence."""
        y: Tensor = self.second(F.gelu(self.norm(self.first(features.mT)))).mT
        return y


class FusionLayer(nn.Module):
    """One layer of a branch: speech is fused into the motion, then a stylized layer.

    Args:
        config: Sizes.
        estimate_dim: Width of the other branch's estimate; 0 where there is none.
    """

    def __init__(self, config: DiffSHEGConfig, estimate_dim: int = 0):
        super().__init__()
        self.fusion = MotionSpeechFusion(
            config.hidden_dim,
            audio_dim=config.audio_dim,
            speech_dim=config.speech_dim,
            estimate_dim=estimate_dim,
            hidden_dim=config.fusion_dim,
        )
        self.layer = StylizedLayer(
            config.hidden_dim, config.num_heads, config.feedforward_dim, condition_dim=config.condition_dim
        )

    def forward(
        self,
        x: Tensor,
        share: FusionShare,
        films: LayerFilms,
        context: Moments,
        estimate: Tensor | None = None,
        *,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """Map tokens to tokens, ``(B, T, C)``.

        Args:
            x: The tokens. Where they are twice as many rows as ``share`` has, the second half sees no condition.
            share: See ``MotionSpeechFusion``.
            films: Styles.
            context: See ``MotionSpeechFusion``.
            estimate: See ``MotionSpeechFusion``.
            unconditional: Rows that see no condition, ``(B,)``.
        """
        num_rows = share.speech.shape[0]
        fused = self.fusion(x[:num_rows], share, context, estimate)
        if unconditional is not None:
            assert share.unconditional is not None
            fused = torch.where(unconditional[:, None, None], share.unconditional, fused)
        if x.shape[0] > num_rows:
            assert share.unconditional is not None
            fused = torch.cat([fused, share.unconditional.expand_as(fused)])
        y: Tensor = self.layer(x + fused, films)
        return y


class MotionBranch(nn.Module):
    """The denoiser of one part of the motion vector.

    Args:
        config: Sizes.
        motion_dim: Channels of the part.
        estimate_dim: Channels of the other branch's estimate; 0 where there is none.
    """

    def __init__(self, config: DiffSHEGConfig, motion_dim: int, estimate_dim: int):
        super().__init__()
        dim = config.hidden_dim
        self.motion_in = nn.Linear(motion_dim, dim)
        self.audio_in = nn.Linear(2 * config.mel_dim, config.audio_dim)
        self.speech_encoder = SpeechConvolutions(config.speech_feature_dim, config.speech_dim)
        self.time_embedding = FeedForward(dim, config.condition_dim, out_dim=config.condition_dim, activation=F.silu)
        self.speaker_embedding = OneHotEmbedding(
            config.num_speakers, hidden_dim=config.condition_dim, dim=config.condition_dim
        )
        self.layers = nn.ModuleList(FusionLayer(config, estimate_dim) for _ in range(config.num_layers))
        self.out = nn.Linear(dim, motion_dim)
        self.null_condition: nn.Parameter | None = None
        if config.unconditional:
            in_dim = dim + config.audio_dim + config.speech_dim + estimate_dim
            self.null_condition = nn.Parameter(torch.randn(1, in_dim))

    def modulate(self, embedded: Tensor, speaker: Tensor) -> list[tuple[LayerFilms, ...]]:
        """The styles of each layer, for each timestep.

        Args:
            embedded: Sinusoidal vectors of the timesteps, ``(K, B, C)`` or ``(K, 1, C)``.
            speaker: ``(B,)``.
        """
        condition = F.silu(self.time_embedding(embedded) + self.speaker_embedding(speaker))
        layers = [cast(FusionLayer, layer).layer.films(condition).unbind() for layer in self.layers]
        return list(zip(*layers, strict=True))

    def prepare(
        self, audio: Tensor, speech: Tensor, films: Sequence[tuple[LayerFilms, ...]], *, needs_null: bool
    ) -> list[BranchConditioning]:
        """What does not depend on the motion, for each timestep.

        Args:
            audio: Mel bands and what the audio encoder made of them, ``(K, B, T, C)``.
            speech: Features of a speech model, ``(B, T, C)``.
            films: Styles, for each timestep.
            needs_null: Whether some of the rows will see no condition.
        """
        audio, speech = self.audio_in(audio), self.speech_encoder(speech)
        context = moments(audio).merge(moments(speech))
        null = self.null_condition if needs_null else None
        shares = [cast(FusionLayer, layer).fusion.prepare(audio, speech, null) for layer in self.layers]
        return [
            BranchConditioning(
                Moments(context.mean[k], context.variance[k], context.width),
                tuple((share._replace(speech=share.speech[k]), film) for share, film in zip(shares, row, strict=True)),
            )
            for k, row in enumerate(films)
        ]

    def forward(
        self,
        motion: Tensor,
        positions: Tensor,
        conditioning: BranchConditioning,
        estimate: Tensor | None = None,
        *,
        guidance_scale: float = 1.0,
        unconditional: Tensor | None = None,
    ) -> Tensor:
        """The noise in ``motion``, ``(B, T, motion_dim)``."""
        context = conditioning.context
        if estimate is not None:
            context = context.merge(moments(estimate))
        x = self.motion_in(motion) + positions
        if guidance_scale != 1:
            x = x.repeat(2, 1, 1)
        for layer, (share, films) in zip(self.layers, conditioning.layers, strict=True):
            x = layer(x, share, films, context, estimate, unconditional=unconditional)
        noise: Tensor = self.out(x)
        if guidance_scale != 1:
            conditional, without = noise.chunk(2)
            noise = torch.lerp(without, conditional, guidance_scale)
        return noise
