"""Onsets of sounds, equal to those of librosa's defaults: how strongly something starts, and when.

Reference:
    Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013 (the strength, here without the
    maximum filter); Böck, Krebs and Schedl, "Evaluating the online capabilities of onset detection methods", ISMIR 2012
    (the picking of peaks).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cospeech.audio.mel import mel_spectrogram, power_to_decibel

__all__ = ["detect_onsets", "onset_strength", "pick_peaks"]

_WINDOW_SAMPLES = 2048


def onset_strength(waveform: Tensor, *, rate_hz: float, hop_samples: int = 512) -> Tensor:
    """How much louder each frame is than the one before: the mean rise over 128 mel bands, in decibels.

    Args:
        waveform: Samples, ``(..., S)``.
        rate_hz: Their sampling rate.
        hop_samples: From frame to frame.

    Returns:
        ``(..., 1 + S // hop_samples)``; equal to ``librosa.onset.onset_strength``, but that what is 80 dB below the
        loudest moment is cut off for each clip, not for the batch.

    Example:
        >>> click = torch.zeros(16000)
        >>> click[8000] = 1
        >>> onset_strength(click, rate_hz=16000).argmax().item() * 512  # 24 ms late, as in librosa
        8192
    """
    decibel = power_to_decibel(mel_spectrogram(waveform, rate_hz=rate_hz, hop_samples=hop_samples))
    rises = (decibel[..., 1:, :] - decibel[..., :-1, :]).clamp(min=0).mean(-1)
    # A window sees a sound half its length before the sound reaches its middle; librosa shifts by that.
    delay = 1 + _WINDOW_SAMPLES // (2 * hop_samples)
    return F.pad(rises, (delay, 0))[..., : decibel.shape[-2]]


def detect_onsets(waveform: Tensor, *, rate_hz: float, hop_samples: int = 512) -> Tensor:
    """The frames at which a sound starts; times ``hop_samples / rate_hz`` they are seconds.

    Args:
        waveform: One clip, ``(S,)``.
        rate_hz: Its sampling rate.
        hop_samples: From frame to frame.

    Returns:
        int64 ``(N,)``, ascending; the list of ``librosa.onset.onset_detect`` at its defaults. Empty for silence.

    Raises:
        ValueError: If the waveform is not one clip.
    """
    if waveform.ndim != 1:
        raise ValueError(f"`waveform` must have shape (S,); got {tuple(waveform.shape)}.")
    strength = onset_strength(waveform, rate_hz=rate_hz, hop_samples=hop_samples)
    strength = strength - strength.min()
    strength = strength / (strength.max() + torch.finfo(strength.dtype).tiny)
    if not bool(strength.any()):
        return strength.new_empty(0, dtype=torch.int64)
    # librosa's defaults in seconds, rounded down to frames. The arithmetic is theirs, in floating point.
    short, long = int(0.03 * rate_hz // hop_samples), int(0.10 * rate_hz // hop_samples)
    return pick_peaks(strength, max_frames=(short, 1), mean_frames=(long, long + 1), threshold=0.07, rest_frames=short)


def pick_peaks(
    x: Tensor, *, max_frames: tuple[int, int], mean_frames: tuple[int, int], threshold: float, rest_frames: int
) -> Tensor:
    """Frames that are the largest around and stand above the mean around.

    Args:
        x: A sequence, ``(T,)``.
        max_frames: ``(before, after)``: ``x[k]`` must be the largest of ``x[k - before : k + after]``.
        mean_frames: ``(before, after)``: ``x[k]`` must exceed the mean of ``x[k - before : k + after]``.
        threshold: By how much at least.
        rest_frames: After a peak so many frames are passed over.

    Returns:
        int64 ``(N,)``, ascending. Beyond the ends there are no values, and means are taken over those there are.
    """
    largest = _around(x, max_frames, float("-inf")).amax(-1)
    there = _around(torch.ones_like(x), mean_frames, 0.0).sum(-1)
    mean = _around(x, mean_frames, 0.0).sum(-1) / there
    candidates = ((x == largest) & (x >= mean + threshold)).nonzero().flatten()
    if rest_frames == 0:
        return candidates
    kept, next_free = [], 0
    for frame in candidates.tolist():
        if frame >= next_free:
            kept.append(frame)
            next_free = frame + rest_frames + 1
    return candidates.new_tensor(kept)


def _around(x: Tensor, frames: tuple[int, int], beyond: float) -> Tensor:
    """``x[k - before : k + after]`` for each ``k``: ``(T, before + after)``."""
    before, after = frames
    return F.pad(x, (before, after - 1), value=beyond).unfold(0, before + after, 1)
