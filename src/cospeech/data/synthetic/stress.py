"""Stressed syllables of any speech, from its loudness: the clock that gestures are timed to.

The synthetic speech knows its stresses; espeak and recordings do not say theirs. A syllable nucleus is a peak of the
loudness between 300 and 3500 Hz; it is stressed where it stands out, by level and length, among the nuclei beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

__all__ = ["Stresses", "find_stresses"]

STEP_SECONDS = 0.01
LOWEST_DB = -22.0  # a nucleus further below the loud parts of the clip is breath or noise
DIP_DB = 2.5  # two peaks are two syllables if the loudness falls this far between them
NEIGHBOUR_SECONDS = 0.7
GAP_SECONDS = 0.38  # hands cannot beat faster


class Stresses(NamedTuple):
    """When stressed vowels begin, and how strong they are."""

    seconds: NDArray[np.float64]  # (N,) rising
    strengths: NDArray[np.float64]  # (N,) from 0.6 to 1


def find_stresses(waveform: NDArray[np.float32], rate_hz: int = 16_000) -> Stresses:
    """Stressed syllables of a clip.

    Args:
        waveform: Speech, ``(S,)``; its level does not matter.
        rate_hz: Samples per second.

    Returns:
        Beginnings of the stressed vowels, at least 0.38 s apart, and their strengths. Silence has none.

    Raises:
        ValueError: If the waveform is not one axis of samples.
    """
    if waveform.ndim != 1:
        raise ValueError(f"`waveform` must have shape (S); got {waveform.shape}.")
    step = round(STEP_SECONDS * rate_hz)
    if len(waveform) < 30 * step or not np.any(waveform):
        return Stresses(np.zeros(0), np.zeros(0))
    band = sosfiltfilt(butter(2, [300, 3500], "bandpass", fs=rate_hz, output="sos"), waveform.astype(np.float64))
    power = (band[: len(band) // step * step].reshape(-1, step) ** 2).mean(-1)
    power = gaussian_filter1d(power, 1.5)
    level_db = 10 * np.log10(power + 1e-12)
    level_db = np.maximum(level_db - np.percentile(level_db, 97), -60.0)
    smooth_db = gaussian_filter1d(level_db, 2.0)
    peaks, _ = find_peaks(smooth_db, height=LOWEST_DB, prominence=DIP_DB)
    if not len(peaks):
        return Stresses(np.zeros(0), np.zeros(0))

    loud = np.cumsum(np.append(0.0, np.maximum(smooth_db - LOWEST_DB, 0.0)))
    reach = 8  # frames on either side: a longer vowel fills more of the 0.16 s around its peak
    area = (loud[np.minimum(peaks + reach + 1, len(loud) - 1)] - loud[np.maximum(peaks - reach, 0)]) / (2 * reach + 1)
    score = 0.5 * smooth_db[peaks] + 0.5 * area
    seconds = peaks * STEP_SECONDS
    near = np.abs(seconds[:, None] - seconds[None]) < NEIGHBOUR_SECONDS
    np.fill_diagonal(near, False)
    neighbours = np.where(near.any(1), (near * score).sum(1) / np.maximum(near.sum(1), 1), score - 3.0)
    salience = score - neighbours

    chosen: list[int] = []
    for number in np.argsort(-salience, kind="stable"):
        if salience[number] > 0.0 and all(abs(seconds[number] - seconds[other]) >= GAP_SECONDS for other in chosen):
            chosen.append(int(number))
    chosen.sort()
    slope = np.gradient(smooth_db)
    begins = []
    for number in chosen:  # the steepest rise within 0.15 s before the peak
        first = max(peaks[number] - 15, 0)
        begins.append(first + int(np.argmax(slope[first : peaks[number] + 1])))
    strengths = np.clip(0.6 + salience[chosen] / 15.0, 0.6, 1.0)
    return Stresses(np.array(begins) * STEP_SECONDS, strengths)
