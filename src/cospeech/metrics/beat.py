"""Do hands stop when the voice starts? Beats of motion against beats of audio, by one definition of our own.

A motion beat is where a hand stops or turns after it has moved: the first local minimum of its speed after a prominent
peak, or where the speed has fallen to a seventh of that peak, whichever comes first. Audio beats come from whatever the
caller trusts: onsets, or stressed syllables. Published protocols differ in every choice made here; this one is for
comparing a motion with its own audio and with other audio.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["beat_consistency", "bootstrap_mean_interval", "motion_beats", "onset_peaks"]

STOPPED_SHARE = 0.15  # of the speed at the peak before


def motion_beats(positions: Tensor, rate_hz: float, *, min_drop: float = 0.2, smooth_seconds: float = 0.03) -> Tensor:
    """When the points stop or turn after having moved.

    Args:
        positions: Points of one clip, ``(T, J, 3)`` in metres; their speeds are averaged. Two wrists, for example.
        rate_hz: Frames per second.
        min_drop: How far the mean speed must fall after a peak, and have risen before it, in metres per second.
        smooth_seconds: Deviation of the Gaussian that smooths the speed.

    Returns:
        Seconds, ``(N)``, rising; empty for a clip that hardly moves.

    Raises:
        ValueError: If the shape is not ``(T, J, 3)``.

    Example:
        >>> angle = torch.arange(91) / 30 * torch.pi  # a point that swings once in two seconds
        >>> x = torch.stack([angle.sin(), torch.zeros(91), torch.zeros(91)], -1)[:, None]
        >>> [round(float(beat), 1) for beat in motion_beats(x, 30.0)]  # it turns at 0.5, 1.5 and 2.5 s
        [1.5, 2.5]
    """
    check_shape("positions", positions, "T J 3")
    if positions.shape[0] < 3:
        return positions.new_zeros(0)
    velocity = np.gradient(positions.detach().cpu().double().numpy(), 1 / rate_hz, axis=0)
    speed = gaussian_filter1d(np.linalg.norm(velocity, axis=-1).mean(-1), smooth_seconds * rate_hz)
    peaks, _ = find_peaks(speed, prominence=min_drop)
    beats = []
    for peak in peaks:
        stopped = (speed[peak:-1] <= STOPPED_SHARE * speed[peak]) | (np.diff(speed[peak:]) >= 0)
        if stopped.any():
            beats.append(peak + int(stopped.argmax()))
    return torch.from_numpy(np.unique(np.array(beats)) / rate_hz).to(positions)


def onset_peaks(
    strength: Tensor, hop_seconds: float, *, min_gap_seconds: float = 0.3, min_share: float = 0.3
) -> Tensor:
    """The clear peaks of an onset strength curve, in seconds, ``(N)``.

    Args:
        strength: Onset strength of one clip, ``(T)``.
        hop_seconds: Time between its values.
        min_gap_seconds: Of two closer peaks the stronger one stays.
        min_share: Least height of a peak, as a share of the 98th percentile of the clip.
    """
    check_shape("strength", strength, "T")
    curve = strength.detach().cpu().double().numpy()
    if not curve.any():
        return strength.new_zeros(0)
    least = min_share * np.percentile(curve, 98)
    peaks, _ = find_peaks(curve, height=least, distance=max(1, round(min_gap_seconds / hop_seconds)))
    return torch.from_numpy(peaks * hop_seconds).to(strength)


def beat_consistency(beats: Tensor, references: Tensor, *, sigma_seconds: float = 0.1) -> Tensor:
    """Mean of ``exp(-d^2 / (2 sigma^2))`` over ``beats``, with ``d`` the distance to the nearest reference.

    Args:
        beats: Seconds, ``(N)``.
        references: Seconds, ``(M)``, in any order.
        sigma_seconds: Tolerance.

    Returns:
        A scalar between 0 and 1; 0 if either is empty.

    Example:
        >>> float(beat_consistency(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])))
        1.0
    """
    if not len(beats) or not len(references):
        return beats.new_zeros(())
    references = references.sort().values
    after = torch.searchsorted(references, beats).clamp_max(len(references) - 1)
    distance = torch.minimum((references[after] - beats).abs(), (references[(after - 1).clamp_min(0)] - beats).abs())
    return torch.exp(-distance.square() / (2 * sigma_seconds**2)).mean()


def bootstrap_mean_interval(
    values: Tensor, *, level: float = 0.95, num_samples: int = 10_000, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: One value per clip, ``(N)``.
        level: Confidence.
        num_samples: Resamples.
        generator: Where the resamples come from.

    Example:
        >>> bootstrap_mean_interval(torch.ones(30))
        (1.0, 1.0)
    """
    check_shape("values", values, "N")
    picks = torch.randint(len(values), (num_samples, len(values)), generator=generator)
    means = values.detach().cpu().double()[picks].mean(1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high
