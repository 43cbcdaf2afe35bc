"""Smooth curves in time: minimum-jerk submovements that overlap, and slow noise.

A reach goes from rest to rest along the quintic that minimises jerk. Several at once add up, so a hand that is lowered
while it is still being raised draws a round path without a stop, as people do.

Reference:
    Flash and Hogan, "The coordination of arm movements", J. Neuroscience 5, 1985; Flash and Henis, "Arm trajectory
    modifications during reaching towards visual targets", J. Cognitive Neuroscience 3, 1991 (superposition).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

__all__ = ["Track", "minimum_jerk", "slow_noise"]


def minimum_jerk(progress: ArrayLike) -> NDArray[np.float64]:
    """The quintic from 0 to 1 with zero speed and acceleration at both ends; constant outside [0, 1].

    Example:
        >>> minimum_jerk([-1.0, 0.0, 0.5, 1.0, 2.0]).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    x = np.clip(np.asarray(progress, dtype=np.float64), 0.0, 1.0)
    return x**3 * (10 + x * (6 * x - 15))


class Track:
    """A quantity that is sent from target to target; each reach starts where the last target was.

    Example:
        >>> height = Track([0.0])
        >>> height.reach([1.0], start=1.0, end=2.0)
        >>> height.curve(np.array([0.0, 1.5, 3.0]))[:, 0].tolist()
        [0.0, 0.5, 1.0]
    """

    def __init__(self, initial: ArrayLike):
        self.initial = np.asarray(initial, dtype=np.float64)
        self.target = self.initial.copy()
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._steps: list[NDArray[np.float64]] = []

    def reach(self, target: ArrayLike, start: float, end: float) -> None:
        """Add a reach to ``target``, ``(D)``, between two times in seconds."""
        target = np.asarray(target, dtype=np.float64)
        self._starts.append(start)
        self._ends.append(max(end, start + 1e-3))
        self._steps.append(target - self.target)
        self.target = target

    def curve(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at the given times, ``(T, D)``."""
        values = np.tile(self.initial, (len(seconds), 1))
        for start, end, step in zip(self._starts, self._ends, self._steps, strict=True):
            first, last = np.searchsorted(seconds, [start, end])
            values[first:last] += minimum_jerk((seconds[first:last] - start) / (end - start))[:, None] * step
            values[last:] += step
        return values


def slow_noise(
    num_frames: int, width: int, smooth_frames: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Gaussian noise of unit deviation that changes over about ``smooth_frames``, ``(num_frames, width)``."""
    margin = int(4 * smooth_frames) + 1
    noise = gaussian_filter1d(generator.standard_normal((num_frames + 2 * margin, width)), smooth_frames, axis=0)
    gain = np.sqrt(2 * np.sqrt(np.pi) * smooth_frames)  # what the Gaussian took from the deviation
    curve: NDArray[np.float64] = noise[margin : margin + num_frames] * gain
    return curve
