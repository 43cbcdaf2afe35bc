"""Jaw, lips, brows and blinks.

FLAME's expression coefficients are principal components, not named muscles, and which face they make depends on a model
that is not ours to ship. We use five of the hundred and say so; the rest stay zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from cospeech.data.synthetic.curves import Track
from cospeech.data.synthetic.stress import Stresses

__all__ = ["BLINK", "BROWS", "LIPS_OPEN", "LIPS_SPREAD", "NUM_EXPRESSIONS", "SMILE", "FacePlan", "plan_face"]

NUM_EXPRESSIONS = 100
LIPS_OPEN, LIPS_SPREAD, BROWS, BLINK, SMILE = 0, 1, 2, 3, 4
JAW_RADIANS = 0.20  # at the loudest vowel


class FacePlan(NamedTuple):
    """The face over time."""

    jaw: NDArray[np.float64]  # (T) opening, radians, never negative
    expressions: NDArray[np.float64]  # (T, 100)


def plan_face(
    waveform: NDArray[np.float32], rate_hz: int, stresses: Stresses, seconds: NDArray[np.float64]
) -> FacePlan:
    """Jaw and lips from loudness and timbre, brows from stress, blinks where the speech pauses.

    Everything is a function of the audio, because the expressions are predicted by regression: what the audio does not
    tell would be averaged away.
    """
    loudness = _envelope(waveform, rate_hz, 120.0, 4000.0, seconds)
    bright = _envelope(waveform, rate_hz, 1800.0, 6000.0, seconds)
    scale = np.percentile(loudness, 95) + 1e-4
    voice = np.clip(loudness / scale, 0.0, 1.3)
    timbre = np.clip(bright / (0.5 * loudness + 0.02 * scale), 0.0, 1.5) * np.minimum(voice * 4, 1.0)
    brows = Track([0.0])
    for vowel, strength in zip(*stresses, strict=True):
        brows.reach([strength], vowel - 0.15, vowel + 0.08)
        brows.reach([0.0], vowel + 0.1, vowel + 0.6)
    expressions = np.zeros((len(seconds), NUM_EXPRESSIONS))
    expressions[:, LIPS_OPEN] = 1.2 * voice
    expressions[:, LIPS_SPREAD] = 0.7 * timbre
    expressions[:, BROWS] = 0.8 * brows.curve(seconds)[:, 0]
    expressions[:, BLINK] = 1.5 * _blinks(voice, seconds)
    expressions[:, SMILE] = 0.25
    return FacePlan(JAW_RADIANS * voice / 1.3, expressions)


def _envelope(
    waveform: NDArray[np.float32], rate_hz: int, low_hz: float, high_hz: float, seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Amplitude in a band, smoothed over about 70 ms, at the times of the frames."""
    step = rate_hz // 100
    padded = np.pad(waveform.astype(np.float64), (0, 40 * step))
    band = sosfiltfilt(butter(2, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos"), padded)
    amplitude = np.sqrt((band[: len(band) // step * step].reshape(-1, step) ** 2).mean(-1))
    smooth: NDArray[np.float64] = gaussian_filter1d(amplitude, 3.0)
    return np.interp(seconds, (np.arange(len(smooth)) + 0.5) / 100, smooth)


def _blinks(voice: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """A blink 0.15 s after each stretch of speech ends: lids close in 0.1 s and open in 0.2 s."""
    lids = Track([0.0])
    speaking = gaussian_filter1d(voice, 4.0) > 0.12
    for frame in np.flatnonzero(speaking[:-1] & ~speaking[1:]):
        start = seconds[frame] + 0.15
        lids.reach([1.0], start, start + 0.1)
        lids.reach([0.0], start + 0.1, start + 0.3)
    return lids.curve(seconds)[:, 0]
