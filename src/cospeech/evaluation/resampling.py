"""Distances of resampled sets of clips, from what each clip contributes: no feature is looked at twice.

A set in which clip ``n`` stands ``w_n`` times has moments that are linear in ``w``. So all resamples of a set are one
matrix product, and what remains per resample is the distance of two small matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cospeech.metrics import FrechetRule, Gaussian, Moments, frechet_distance_of_moments

__all__ = ["MomentStack", "percentile_interval", "resampled_distances", "resampled_means"]

_BLOCK_RESAMPLES = 16  # covariances of 240 dimensions: 7 MB


class MomentStack:
    """Moments of many clips, of any resample of them.

    Args:
        moments: One per clip.

    Attributes:
        count: Features in all.
        dim: Of a feature.
        num_clips: That have any features.
    """

    def __init__(self, moments: Sequence[Moments]):
        kept = [(x.count, x.mean, x.scatter) for x in moments if x.mean is not None and x.scatter is not None]
        if not kept:
            raise ValueError("`moments` must hold those of one clip at least; got none.")
        self.counts = torch.tensor([count for count, _, _ in kept], dtype=torch.float64)
        means = torch.stack([mean for _, mean, _ in kept])
        # About the common mean, so that nothing is lost where it is far from 0.
        self.centre = self.counts @ means / self.counts.sum()
        self.gaps = means - self.centre
        self.seconds = torch.stack([scatter for _, _, scatter in kept])
        for second, gap, (count, _, _) in zip(self.seconds, self.gaps, kept, strict=True):
            second.addr_(gap, gap, alpha=count)
        self.count, self.dim, self.num_clips = int(self.counts.sum()), means.shape[1], len(kept)

    def pool(self, weights: Tensor) -> Iterator[Gaussian]:
        """Moments of the sets in which each clip stands so many times, ``(R, N)`` float64, one after the other."""
        for start in range(0, len(weights), _BLOCK_RESAMPLES):
            block = weights[start : start + _BLOCK_RESAMPLES]
            counts = block * self.counts
            totals = counts.sum(1, keepdim=True)
            shifts = counts @ self.gaps / totals
            scatters = (block @ self.seconds.flatten(1)).reshape(-1, self.dim, self.dim)
            for scatter, shift, total in zip(scatters, shifts, totals, strict=True):
                yield Gaussian(self.centre + shift, scatter.addr_(shift, shift, alpha=-float(total)) / (total - 1))

    def whole(self) -> Gaussian:
        """Moments of all clips."""
        return next(self.pool(torch.ones(1, self.num_clips, dtype=torch.float64)))


def resampled_distances(ours: MomentStack, theirs: MomentStack, weights: Tensor, rule: FrechetRule) -> Tensor:
    """The distance of each resample ``(R, N)``, float64 ``(R)``; both sets are resampled alike."""
    pairs = zip(ours.pool(weights), theirs.pool(weights), strict=True)
    return torch.stack([frechet_distance_of_moments(*a, *b, rule=rule) for a, b in pairs])


def resampled_means(values: Tensor, weights: Tensor, picks: Tensor) -> Tensor:
    """The weighted mean of each resample, from values and weights ``(N)`` and picked clips ``(R, N)``."""
    return (values * weights)[picks].sum(1) / weights[picks].sum(1)


def percentile_interval(values: Tensor, level: float) -> tuple[float, float]:
    """The middle ``level`` of resampled values ``(R)``."""
    tail = (1 - level) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=values.dtype)).tolist()
    return low, high
