"""Speech features that are stored with windows, by name.

``silence-N`` stands for features that are not at hand: zeros of N channels, for rehearsals of a training.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from cospeech.audio import ProsodyConfig, ProsodyFeatures, SpeechEncoder
from cospeech.audio.diffsheg import HubertTrack, diffsheg_mel
from cospeech.data.beat2 import FRAME_RATE_HZ, SAMPLE_RATE_HZ

__all__ = ["Hearing", "feature_dim", "make_hearing"]

Hearing = Callable[[Tensor], Tensor]
"""Windows of samples ``(W, S)`` to features ``(W, T, C)``."""

_DIMS = {"none": 0, "prosody": 30, "wavlm": 1024, "diffsheg-prosody": 128 + 30, "diffsheg-hubert": 128 + 1024}


def feature_dim(name: str) -> int:
    """How many channels the features of this name have.

    Raises:
        ValueError: If there are none of this name.

    Example:
        >>> feature_dim("prosody"), feature_dim("silence-7")
        (30, 7)
    """
    silence = re.fullmatch(r"silence-(\d+)", name)
    if name not in _DIMS and not silence:
        raise ValueError(f"Unknown features {name!r}; choose from {', '.join(_DIMS)}.")
    return int(silence[1]) if silence else _DIMS[name]


def make_hearing(name: str, frame_rate_hz: float = FRAME_RATE_HZ) -> Hearing | None:
    """What makes the features of this name, as many a second as there are frames of motion; None for "none".

    Raises:
        ValueError: If there are none of this name.
        MissingExtraError: If a network's package is not installed.
        ModelNotFoundError: If its weights are neither here nor to be fetched.
    """
    dim = feature_dim(name)
    if name == "none":
        return None
    if name == "prosody":
        return _prosody(frame_rate_hz)
    if name == "wavlm":
        return SpeechEncoder.load(frame_rate_hz=frame_rate_hz)
    if name == "diffsheg-prosody":
        return _DiffSHEG(_prosody(frame_rate_hz), frame_rate_hz)
    if name == "diffsheg-hubert":
        track = HubertTrack.load()
        return _DiffSHEG(
            lambda windows: torch.stack([track(window, _num_frames(windows, frame_rate_hz)) for window in windows]),
            frame_rate_hz,
        )
    return lambda waveform: torch.zeros(len(waveform), _num_frames(waveform, frame_rate_hz), dim)


class _DiffSHEG:
    """DiffSHEG's mel bands and speech track, side by side."""

    def __init__(self, track: Hearing, frame_rate_hz: float):
        self.track, self.frame_rate_hz = track, frame_rate_hz

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        mel = diffsheg_mel(waveform, SAMPLE_RATE_HZ, frame_rate_hz=self.frame_rate_hz)
        mel = mel[:, torch.arange(_num_frames(waveform, self.frame_rate_hz)).clamp_max(mel.shape[1] - 1)]
        return torch.cat([mel, self.track(waveform)], dim=-1)


def _prosody(frame_rate_hz: float) -> ProsodyFeatures:
    return ProsodyFeatures(ProsodyConfig(frame_rate_hz=frame_rate_hz))


def _num_frames(waveform: Tensor, frame_rate_hz: float) -> int:
    return round(waveform.shape[1] * frame_rate_hz / SAMPLE_RATE_HZ)
