"""The three clocks of co-speech motion, samples, frames and seconds, and every conversion between them.

A rate may be an ``int`` or a ``float``; a float stands for the simplest fraction near it, so 29.97 means 2997/100 and
``30000 / 1001`` means just that. All arithmetic is exact, and an hour does not drift.

Convention: moment 0 starts frame 0 and sample 0. Frame ``k`` starts at sample ``floor(k * rate_hz / frame_rate_hz)``,
as in the windows on which GlobalDiff was trained (``(20 * i) * 16000 // 30``), and ends where frame ``k + 1`` starts.
"""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = [
    "frames_to_samples",
    "frames_to_seconds",
    "rate_ratio",
    "samples_to_frames",
    "samples_to_frames_covering",
    "samples_to_seconds",
    "seconds_to_frames",
    "seconds_to_samples",
]

# Large enough for every rate in use (30000/1001, 44100.5), small enough to see 2997/100 in the float 29.97.
_LARGEST_DENOMINATOR = 10_000


def seconds_to_samples(seconds: float, rate_hz: float) -> int:
    """The number of samples nearest to a duration; half a sample counts as one.

    Example:
        >>> seconds_to_samples(0.29, 100)  # 0.29 * 100 is 28.999999999999996 in floating point
        29
    """
    return math.floor(Fraction(seconds) * _rational(rate_hz) + Fraction(1, 2))


def seconds_to_frames(seconds: float, frame_rate_hz: float) -> int:
    """The number of frames nearest to a duration; half a frame counts as one."""
    return seconds_to_samples(seconds, frame_rate_hz)


def samples_to_seconds(num_samples: int, rate_hz: float) -> float:
    """The time at which sample ``num_samples`` starts, which is the duration of the samples before it."""
    return float(num_samples / _rational(rate_hz))


def frames_to_seconds(num_frames: int, frame_rate_hz: float) -> float:
    """The time at which frame ``num_frames`` starts, which is the duration of the frames before it."""
    return samples_to_seconds(num_frames, frame_rate_hz)


def frames_to_samples(num_frames: int, *, rate_hz: float, frame_rate_hz: float) -> int:
    """The sample at which frame ``num_frames`` starts, which is how many samples the frames before it span.

    Example:
        >>> [frames_to_samples(k, rate_hz=16000, frame_rate_hz=30) for k in range(4)]
        [0, 533, 1066, 1600]
    """
    return math.floor(num_frames * rate_ratio(rate_hz, frame_rate_hz))


def samples_to_frames(num_samples: int, *, rate_hz: float, frame_rate_hz: float) -> int:
    """How many whole frames have ended when ``num_samples`` samples are there.

    The inverse of ``frames_to_samples`` (as long as a frame has one sample at least).

    Example:
        >>> [samples_to_frames(n, rate_hz=16000, frame_rate_hz=30) for n in (532, 533, 32000)]
        [0, 1, 60]
    """
    return math.ceil((num_samples + 1) / rate_ratio(rate_hz, frame_rate_hz)) - 1


def samples_to_frames_covering(num_samples: int, *, rate_hz: float, frame_rate_hz: float) -> int:
    """The fewest frames that span all of ``num_samples`` samples; the last of them may reach beyond.

    Example:
        >>> [samples_to_frames_covering(n, rate_hz=16000, frame_rate_hz=30) for n in (0, 1, 533, 534, 32000)]
        [0, 1, 1, 2, 60]
    """
    return math.ceil(num_samples / rate_ratio(rate_hz, frame_rate_hz))


def rate_ratio(rate_hz: float, other_rate_hz: float) -> Fraction:
    """The exact ratio of two rates.

    Raises:
        ValueError: If a rate is not a positive number.

    Example:
        >>> rate_ratio(44100, 16000)
        Fraction(441, 160)
    """
    return _rational(rate_hz) / _rational(other_rate_hz)


def _rational(rate_hz: float) -> Fraction:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"A rate must be a positive number of hertz; got {rate_hz}.")
    rate = Fraction(rate_hz).limit_denominator(_LARGEST_DENOMINATOR)
    return rate or Fraction(rate_hz)
