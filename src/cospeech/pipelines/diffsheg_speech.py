"""What DiffSHEG hears of a window: mel bands and the features of a speech model, frame by frame.

The published script hears a whole recording at once. So does "clip"; "window" hears each window on its own, which is
how the networks were trained, and what can be streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from cospeech.audio import ProsodyFeatures, resample
from cospeech.audio.diffsheg import KAISER_BEST, diffsheg_mel, stretch_frames
from cospeech.pipelines.speech_windows import WindowClock
from cospeech.samplers import outpainting_windows

__all__ = ["DiffSHEGHearing", "DiffSHEGWindow", "ProsodyTrack", "SpeechTrack"]


class SpeechTrack(Protocol):
    """Recordings ``(S,)`` to features, as many as there are frames of motion, ``(T, feature_dim)``."""

    rate_hz: float
    feature_dim: int

    def __call__(self, waveform: Tensor, num_frames: int, /) -> Tensor:
        """The features of a recording."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same on another device."""


class ProsodyTrack(nn.Module):
    """``ProsodyFeatures`` as a track: nothing to download, for models trained from nothing.

    Args:
        features: What is heard.
    """

    def __init__(self, features: ProsodyFeatures):
        super().__init__()
        self.features = features
        self.rate_hz, self.feature_dim = float(features.rate_hz), features.feature_dim

    def forward(self, waveform: Tensor, num_frames: int) -> Tensor:
        """Features ``(num_frames, C)`` of a recording ``(S,)``."""
        return stretch_frames(self.features(waveform[None])[0], num_frames)


class DiffSHEGWindow(NamedTuple):
    """What the speech of one window of a clip tells.

    Attributes:
        mel: ``(T, mel_dim)``.
        speech: ``(T, C)``.
        num_frames: How many of the frames lie within the clip.
        is_last: Whether the clip ends in this window.
    """

    mel: Tensor
    speech: Tensor
    num_frames: int
    is_last: bool


@dataclass(frozen=True, kw_only=True)
class DiffSHEGHearing:
    """Recordings to windows of features.

    Attributes:
        speech: What is heard besides mel bands.
        clock: Where windows lie; its ``rate_hz`` is that of the samples, its ``frame_rate_hz`` that of the features.
        scope: "window" or "clip": what is heard at once.
        strict_upstream: Whether the samples are given to ``speech`` as if they were at its rate.
    """

    speech: SpeechTrack
    clock: WindowClock
    scope: Literal["window", "clip"]
    strict_upstream: bool

    def num_frames(self, num_samples: int) -> int:
        """Frames that are made for so many samples."""
        if self.scope == "window":
            return self.clock.num_frames(num_samples)
        return max(1, int(num_samples / self.clock.rate_hz * self.clock.frame_rate_hz + 1e-6))

    def windows(self, blocks: Iterable[Tensor], device: torch.device) -> Iterator[DiffSHEGWindow]:
        """The windows of a clip from consecutive samples ``(S,)``, each as soon as it can be."""
        return self._each(blocks, device) if self.scope == "window" else self._all(blocks, device)

    @torch.no_grad()
    def _each(self, blocks: Iterable[Tensor], device: torch.device) -> Iterator[DiffSHEGWindow]:
        for window in self.clock.windows(blocks):
            mel, speech = self.hear(window.samples.to(device), self.clock.window_frames)
            yield DiffSHEGWindow(mel, speech, window.num_frames, window.is_last)

    @torch.no_grad()
    def _all(self, blocks: Iterable[Tensor], device: torch.device) -> Iterator[DiffSHEGWindow]:
        waveform = torch.cat(list(blocks)).to(device)
        num_frames = self.num_frames(len(waveform))
        mel, speech = self.hear(waveform, num_frames)
        windows = outpainting_windows(num_frames, self.clock.window_frames, self.clock.overlap_frames)
        for window in windows:
            yield DiffSHEGWindow(mel[window], speech[window], window.stop - window.start, window is windows[-1])

    def hear(self, waveform: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Mel frames ``(T, mel_dim)`` and speech features ``(T, C)`` of samples at ``clock.rate_hz``."""
        rate_hz, frame_rate_hz = self.clock.rate_hz, self.clock.frame_rate_hz
        sinc = KAISER_BEST if self.strict_upstream else None
        missing = int(rate_hz / frame_rate_hz) + 1 - len(waveform)
        padded = nn.functional.pad(waveform, (0, max(0, missing)))  # mel and network both want a frame at least
        mel = diffsheg_mel(padded, rate_hz, frame_rate_hz=frame_rate_hz, sinc=sinc)
        mel = mel[torch.arange(num_frames, device=mel.device).clamp_max(len(mel) - 1)]
        heard = padded
        if not self.strict_upstream:  # the published slip: 22,050 Hz go to a network that takes them for 16,000
            heard = resample(padded, rate_hz, self.speech.rate_hz)
        return mel, self.speech(heard, num_frames)
