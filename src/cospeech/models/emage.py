"""EMAGE's masked audio-gesture transformer: from speech and whatever is visible of the motion to codes of all of it.

Motion is ``(B, T, 337)``: Rot6D of 55 joints, translation, foot contact (``EmageMotionCodec`` makes and reads it). A
mask says, number by number, what is hidden. The face is decoded from speech and hints; the body from hints, then from
speech, then each of its three parts once more in view of the other two.

The speech of a window does not depend on the motion, so the work is cut in two: ``hear`` may run for many windows at
once, ``complete`` runs window after window.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the structure is that of the published program, which differs from the paper: no text, no
    spatial attention over joints, codes of 256 numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.emage_codec import EmageParts
from cospeech.models.emage_config import BODY_PARTS, EmageConfig
from cospeech.models.emage_speech import RhythmAndContentEncoder, WaveformEncoder
from cospeech.nn import (
    FeedForward,
    KeyValue,
    MultiHeadAttention,
    PeriodicPositionalEncoding,
    TemporalEncoder,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)

__all__ = ["EmageHeard", "EmageOutput", "EmageTransformer"]


class EmageHeard(NamedTuple):
    """What the transformer takes from speech.

    Attributes:
        face: Features, ``(B, F, C)``.
        body: For each layer that looks at speech, its projected memory.
    """

    face: Tensor
    body: tuple[KeyValue, ...]

    def rows(self, index: slice | Tensor) -> EmageHeard:
        """Some of the windows."""
        return EmageHeard(self.face[index], tuple(KeyValue(*(x[index] for x in layer)) for layer in self.body))

    @staticmethod
    def join(heard: Sequence[EmageHeard]) -> EmageHeard:
        """Windows of one length as one batch."""
        if len(heard) == 1:
            return heard[0]
        layers = zip(*(window.body for window in heard), strict=True)
        body = (KeyValue(*map(torch.cat, zip(*layer, strict=True))) for layer in layers)
        return EmageHeard(torch.cat([window.face for window in heard]), tuple(body))


class EmageOutput(NamedTuple):
    """For each part, latents in its codebook's space ``(B, T, code_dim)`` and logits of its codes ``(B, T, N)``."""

    latents: EmageParts
    logits: EmageParts


class EmageTransformer(nn.Module):
    """Completes a window of motion from speech.

    Example:
        >>> config = EmageConfig(hidden_dim=32, feedforward_dim=32, audio_dim=16, num_audio_layers=1, num_face_layers=1)
        >>> model = EmageTransformer(config).eval()
        >>> audio, motion, speaker = torch.randn(1, 533 * 64), torch.randn(1, 64, 337), torch.tensor([0])
        >>> mask = torch.ones(1, 64, 337, dtype=torch.bool)
        >>> output = model(audio, motion, mask, speaker)
        >>> output.latents.face.shape, output.logits.hands.shape
        (torch.Size([1, 64, 256]), torch.Size([1, 64, 256]))
    """

    def __init__(self, config: EmageConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.mask_embedding = nn.Parameter(torch.empty(1, 1, config.motion_dim).normal_(std=dim**-0.5))
        self.motion_encoder = TemporalEncoder(config.motion_dim, config.motion_latent_dim, config.num_motion_stages)
        self.positions = PeriodicPositionalEncoding(dim, config.window_frames)
        self.dropout = nn.Dropout(config.dropout)

        self.face_speech = _speech_encoder(config)
        self.face_speaker = nn.Embedding(config.num_speakers, dim)
        self.face_hints = _mlp(config.motion_latent_dim, config.motion_latent_dim, config)
        self.face_memory = nn.Linear(config.audio_dim + config.motion_latent_dim, dim)
        self.face_decoder = _decoder(config, config.num_face_layers)
        self.face_head = _Head(config)

        self.body_speech = _speech_encoder(config)
        self.body_speaker = nn.Embedding(config.num_speakers, dim)
        self.body_hints = _mlp(config.motion_latent_dim, config.motion_latent_dim, config)
        self.body_in = nn.Linear(config.motion_latent_dim, dim)
        self.body_encoder = nn.ModuleList(
            TransformerEncoderLayer(dim, config.num_heads, config.feedforward_dim, dropout=config.dropout)
            for _ in range(config.num_self_layers)
        )
        self.body_memory = nn.Linear(config.audio_dim, dim)
        self.audio_decoder = _decoder(config, config.num_audio_layers)
        self.to_part = nn.ModuleDict({part: _mlp(dim, dim, config) for part in BODY_PARTS})
        self.part_decoder = nn.ModuleDict({part: _decoder(config, config.num_part_layers) for part in BODY_PARTS})
        self.part_head = nn.ModuleDict({part: _Head(config) for part in BODY_PARTS})
        _init_attention(self.modules())
        _start_equal(self.body_encoder)
        _start_equal(self.face_decoder, self.audio_decoder, *self.part_decoder.values())

    def forward(
        self,
        audio: Tensor,
        motion: Tensor,
        mask: Tensor,
        speaker: Tensor,
        *,
        words: Tensor | None = None,
        use_audio: bool = True,
    ) -> EmageOutput:
        """Complete windows of motion.

        Args:
            audio: Waveform, ``(B, S)``; with ``text_dim``, rhythm signals ``(B, num_signals, S)``.
            motion: What is known, ``(B, T, motion_dim)``; hidden numbers are not looked at.
            mask: True (or 1) where motion is hidden, ``(B, T, motion_dim)``.
            speaker: Integers, ``(B,)``.
            words: With ``text_dim``, the word embedding of each frame, ``(B, T, text_dim)``.
            use_audio: Whether the body hears. Training runs masked reconstruction without; the face always hears.

        Raises:
            ValueError: If a shape does not fit, or the audio is shorter than the motion.
        """
        return self.complete(self.hear(audio, words), motion, mask, speaker, use_audio=use_audio)

    def hear(self, audio: Tensor, words: Tensor | None = None) -> EmageHeard:
        """What ``complete`` needs of the speech; arguments as for ``forward``."""
        memory = self.body_memory(self.body_speech(audio, words))
        return EmageHeard(
            self.face_speech(audio, words), tuple(_project(layer, memory) for layer in self.audio_decoder)
        )

    def complete(
        self, heard: EmageHeard, motion: Tensor, mask: Tensor, speaker: Tensor, *, use_audio: bool = True
    ) -> EmageOutput:
        """Complete windows of motion from what was heard; arguments as for ``forward``."""
        check_shape("motion", motion, f"B T {self.config.motion_dim}")
        check_shape("mask", mask, " ".join(map(str, motion.shape)))
        check_shape("speaker", speaker, f"{len(motion)}")
        if heard.face.shape[1] < motion.shape[1]:
            raise ValueError(
                f"`audio` must last as long as `motion`; it gives {heard.face.shape[1]} features "
                f"for {motion.shape[1]} frames."
            )
        hints = self.motion_encoder(torch.where(mask == 1, self.mask_embedding, motion))
        face = self._face(heard.face, hints, speaker)
        parts = self._body(heard.body if use_audio else None, hints, speaker)
        pairs = [self.face_head(face)] + [self.part_head[part](parts[part]) for part in BODY_PARTS]
        return EmageOutput(*(EmageParts(*column) for column in zip(*pairs, strict=True)))

    def _face(self, heard: Tensor, hints: Tensor, speaker: Tensor) -> Tensor:
        num_frames = hints.shape[1]
        memory = self.face_memory(torch.cat([heard[:, :num_frames], self.face_hints(hints)], dim=-1))
        return _run(self.face_decoder, self.face_start(speaker, num_frames), memory)

    def face_start(self, speaker: Tensor, num_frames: int) -> Tensor:
        """What the face is decoded from, before it sees speech or hints: ``(B, T, C)``."""
        return self._add_positions(self.face_speaker(speaker)[:, None].expand(-1, num_frames, -1))

    def _body(self, heard: tuple[KeyValue, ...] | None, hints: Tensor, speaker: Tensor) -> dict[str, Tensor]:
        style = self.body_speaker(speaker)[:, None]
        x = self._add_positions(self.body_in(self.body_hints(hints))) + style
        for layer in self.body_encoder:
            x = layer(x)
        x = self._add_positions(x + style)
        if heard is not None:
            # All features of the window are looked at, also those beyond its frames: the published program means to
            # cut them and cuts the face's a second time instead.
            y = x
            for layer, memory in zip(self.audio_decoder, heard, strict=True):
                y = layer(y, memory)
            x = x + y
        parts = {part: self.to_part[part](x) for part in BODY_PARTS}
        return {part: self._refine(part, parts, style) for part in BODY_PARTS}

    def _refine(self, part: str, parts: dict[str, Tensor], style: Tensor) -> Tensor:
        first, second = (parts[other] for other in BODY_PARTS if other != part)
        return parts[part] + _run(self.part_decoder[part], parts[part] + style, first + second)

    def _add_positions(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout(self.positions(x))
        return y


class _Head(nn.Module):
    """Latents in the space of a codebook, and logits made from them."""

    def __init__(self, config: EmageConfig):
        super().__init__()
        self.latents = nn.Linear(config.hidden_dim, config.code_dim)
        self.logits = _mlp(config.code_dim, config.num_codes, config)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.latents(x)
        return latents, self.logits(latents)


def _speech_encoder(config: EmageConfig) -> nn.Module:
    if config.text_dim is None:
        return WaveformEncoder(config.audio_dim)
    per_channel = config.fusion == "channel"
    hidden_dim = None if per_channel else config.audio_dim  # the paper does not tell how wide
    return RhythmAndContentEncoder(
        config.audio_dim, config.num_signals, config.text_dim, hidden_dim=hidden_dim, per_channel=per_channel
    )


def _mlp(dim: int, out_dim: int, config: EmageConfig) -> FeedForward:
    activation = partial(F.leaky_relu, negative_slope=config.slope)
    return FeedForward(dim, config.hidden_dim, out_dim=out_dim, activation=activation)


def _decoder(config: EmageConfig, num_layers: int) -> nn.ModuleList:
    return nn.ModuleList(
        TransformerDecoderLayer(config.hidden_dim, config.num_heads, config.feedforward_dim, dropout=config.dropout)
        for _ in range(num_layers)
    )


def _run(decoder: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
    for layer in decoder.children():
        x = layer(x, memory)
    return x


def _project(layer: nn.Module, memory: Tensor) -> KeyValue:
    assert isinstance(layer, TransformerDecoderLayer)
    return layer.cross_attention.project(memory)


def _init_attention(modules: Iterable[nn.Module]) -> None:
    """As ``nn.MultiheadAttention`` begins: Xavier over the three projections as one, no biases."""
    for module in modules:
        if isinstance(module, MultiHeadAttention):
            bound = (6 / (4 * module.query.in_features)) ** 0.5
            for linear in (module.query, module.key_value):
                nn.init.uniform_(linear.weight, -bound, bound)
                nn.init.zeros_(linear.bias)
            nn.init.zeros_(module.out.bias)


def _start_equal(*stacks: nn.Module) -> None:
    """Begin training with all layers of all stacks alike, as the published program does by cloning one layer."""
    layers = [layer for stack in stacks for layer in stack.children()]
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
