"""Speech features that are stored with windows, by name.

``silence-N`` stands for features that are not at hand: zeros of N channels, for rehearsals of a training.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from cospeech.audio import ProsodyFeatures, SpeechEncoder
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


def make_hearing(name: str) -> Hearing | None:
    """What makes the features of this name; None for "none".

    Raises:
        ValueError: If there are none of this name.
        MissingExtraError: If a network's package is not installed.
        ModelNotFoundError: If its weights are neither here nor to be fetched.
    """
    dim = feature_dim(name)
    if name == "none":
        return None
    if name == "prosody":
        return ProsodyFeatures()
    if name == "wavlm":
        return SpeechEncoder.load()
    if name == "diffsheg-prosody":
        return _DiffSHEG(ProsodyFeatures())
    if name == "diffsheg-hubert":
        track, frames = HubertTrack.load(), _num_frames
        return _DiffSHEG(lambda windows: torch.stack([track(window, frames(windows)) for window in windows]))
    return lambda waveform: torch.zeros(len(waveform), _num_frames(waveform), dim)


class _DiffSHEG:
    """DiffSHEG's mel bands and speech track, side by side."""

    def __init__(self, track: Hearing):
        self.track = track

    @torch.no_grad()
    def __call__(self, waveform: Tensor) -> Tensor:
        mel = diffsheg_mel(waveform, SAMPLE_RATE_HZ, frame_rate_hz=FRAME_RATE_HZ)
        mel = mel[:, torch.arange(_num_frames(waveform)).clamp_max(mel.shape[1] - 1)]
        return torch.cat([mel, self.track(waveform)], dim=-1)


def _num_frames(waveform: Tensor) -> int:
    return round(waveform.shape[1] * FRAME_RATE_HZ / SAMPLE_RATE_HZ)
