"""Sizes and choices of EMAGE's transformer, and where paper and programs differ.

======================= ========================= ========================= =======================
topic                   published program         earlier (``legacy``)      paper (``paper``)
======================= ========================= ========================= =======================
speech                  waveform                  amplitude, onset, words   amplitude, onset, words
content-rhythm weights  none                      per channel, one layer    per frame, two layers
numbers of a code       256                       256                       512
speakers                1                         25                        not told
slope of activations    0.1                       0.2                       not told
======================= ========================= ========================= =======================

Not built, since only one form of each can be checked against outputs: the earlier program's order of positions and
speaker and its residual without positions, and the paper's spatial transformer over joints with a class token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BODY_PARTS", "EmageConfig"]

BODY_PARTS = ("upper", "hands", "lower")


@dataclass(frozen=True, kw_only=True)
class EmageConfig:
    """Sizes and choices; the defaults are the published ones.

    Attributes:
        window_frames: Frames of a full window, and the period of the positions.
        seed_frames: Frames that a window takes over from the one before.
        text_dim: Width of the word embeddings; None hears audio only. With text, the audio is ``num_signals`` rhythm
            signals instead of a waveform, and content-rhythm attention mixes the two.
        fusion: How content-rhythm attention weighs: "frame" by a number per frame from two layers (paper), "channel" by
            a number per channel from one layer (the earlier program).
        code_parts: Parts whose codes are the likeliest of their classifiers.
        latent_parts: Parts whose codes are those nearest to their latents. A part in neither is absent.
    """

    motion_dim: int = 337
    motion_latent_dim: int = 256
    num_motion_stages: int = 3
    audio_dim: int = 256
    hidden_dim: int = 768
    feedforward_dim: int = 1536
    num_heads: int = 4
    num_face_layers: int = 4
    num_self_layers: int = 1
    num_audio_layers: int = 8
    num_part_layers: int = 1
    code_dim: int = 256
    num_codes: int = 256
    num_speakers: int = 1
    dropout: float = 0.1
    slope: float = 0.1
    window_frames: int = 64
    seed_frames: int = 4
    text_dim: int | None = None
    num_signals: int = 2
    fusion: Literal["frame", "channel"] = "frame"
    code_parts: tuple[str, ...] = BODY_PARTS
    latent_parts: tuple[str, ...] = ("face",)

    def __post_init__(self) -> None:
        parts = (*self.code_parts, *self.latent_parts)
        if len(set(parts)) < len(parts) or not set(parts) <= {"face", *BODY_PARTS}:
            raise ValueError(f"`code_parts` and `latent_parts` must share out face, upper, hands, lower; got {parts}.")
        if not 0 < self.seed_frames < self.window_frames:
            raise ValueError(f"`seed_frames` must be from 1 to {self.window_frames - 1}; got {self.seed_frames}.")

    @classmethod
    def paper(cls) -> EmageConfig:
        """What the paper says where the published program differs, as far as both can be had in one network.

        Amplitude and onset with words of 300 numbers, weighed frame by frame, and codes of 512 numbers. The paper's
        spatial transformer over joints is not described closely enough to be built; hints are read by convolutions
        here too.
        """
        return cls(text_dim=300, fusion="frame", code_dim=512)

    @classmethod
    def legacy(cls) -> EmageConfig:
        """The sizes of the earlier program with text: 25 speakers, weights per channel, activations of slope 0.2.

        Its weights do not load: its forward pass differs in where positions and speaker are added.
        """
        return cls(text_dim=300, fusion="channel", num_speakers=25, slope=0.2)
