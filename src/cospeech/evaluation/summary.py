"""From clips to the numbers of a set: pooled distances, weighted means, and how far to trust them.

Intervals are percentile bootstraps over clips: how much a number would move had other clips of the same kind been
recorded. They do not say how much it moves when a model is sampled or trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cospeech.evaluation.clips import ClipMeasures, moments_of
from cospeech.evaluation.protocols import Protocol
from cospeech.metrics import (
    FrechetRule,
    Gaussian,
    MeanAccumulator,
    Moments,
    frechet_distance,
    frechet_distance_of_moments,
    score_beats,
)

__all__ = ["AlignmentTest", "Metric", "alignment_test", "summarize"]

MAX_FRECHET_RESAMPLES = 200  # a distance takes milliseconds, a mean nanoseconds
FLOOR_SPLITS = 5
OTHERS_PER_CLIP = 20
SHIFT_SECONDS = 3.0
_FRAMES_PER_FEATURE = 16


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a table.

    Attributes:
        name: As the protocol calls it.
        value: Of the generated clips.
        low: Lower end of the interval; None without one.
        high: Upper end.
        reference: The same of the reference clips, or for a distance its floor: between random halves of the reference.
        num_clips: That contributed.
        note: What to know.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    num_clips: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AlignmentTest:
    """Does beat consistency know this audio from another's?

    Attributes:
        matched: Mean score with the clips' own audio.
        mismatched: Mean score of the same motion with other clips' audio.
        low: Lower end of the interval of the difference.
        high: Upper end.
        num_clips: That were scored.
        others: What the other audio was: "other clips" or, for a single clip, "shifted audio".
    """

    matched: float
    mismatched: float
    low: float
    high: float
    num_clips: int
    others: str

    @property
    def tells_apart(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.low > 0

    def __str__(self) -> str:
        verdict = "tells them apart" if self.tells_apart else "CANNOT tell them apart"
        return (
            f"own audio {self.matched:.4f}, {self.others} {self.mismatched:.4f}, difference "
            f"{self.matched - self.mismatched:+.4f} [{self.low:+.4f}, {self.high:+.4f}]: {verdict}"
        )


def summarize(
    clips: Sequence[ClipMeasures],
    protocol: Protocol,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Metric]:
    """The numbers of a set of clips, in the protocol's order; measures that no clip has are left out.

    Args:
        clips: What ``measure_clip`` gave; their order matters to ``globaldiff`` only.
        protocol: The same.
        num_resamples: Bootstrap resamples; 0 for no intervals. Distances take 200 at most.
        level: Of the intervals.
        seed: Of resamples and splits.
    """
    generator = torch.Generator().manual_seed(seed)
    metrics = []
    for name in protocol.measures:
        if any(name in clip.features or name in clip.moments for clip in clips):
            metrics.append(_distance(name, clips, protocol, num_resamples, level, generator))
        elif any(name in clip.values for clip in clips):
            metrics.append(_mean(name, clips, num_resamples, level, generator))
    return [metric for metric in metrics if metric is not None]


def alignment_test(
    clips: Sequence[ClipMeasures],
    protocol: Protocol,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> AlignmentTest | None:
    """Beat consistency with the clips' own audio against the same motion with other audio.

    Other audio is that of up to 20 other clips, drawn at random, or for a single clip its own, shifted in time. None
    if no clip has beats and onsets.
    """
    rule = protocol.beat
    usable = [clip for clip in clips if clip.beats and clip.onsets is not None and len(clip.onsets)]
    usable = [clip for clip in usable if "bc" in clip.values]
    if rule is None or not usable:
        return None
    generator = torch.Generator().manual_seed(seed)
    matched, mismatched = [], []
    for number, clip in enumerate(usable):
        seconds = clip.num_frames / protocol.rate_hz - 2 * rule.margin_seconds
        scores = [score_beats(clip.beats, x, rule)[0] for x in _other_onsets(usable, number, seconds, generator)]
        finite = [float(score) for score in scores if bool(score.isfinite())]
        if finite:
            matched.append(clip.values["bc"][0])
            mismatched.append(sum(finite) / len(finite))
    if not matched:
        return None
    gaps = torch.tensor(matched, dtype=torch.float64) - torch.tensor(mismatched, dtype=torch.float64)
    low, high = float(gaps.min()), float(gaps.max())
    if len(gaps) > 1:
        picks = torch.randint(len(gaps), (max(num_resamples, 1), len(gaps)), generator=generator)
        low, high = _interval(gaps[picks].mean(1), level)
    else:
        low = float("-inf")  # one clip proves nothing
    return AlignmentTest(
        matched=sum(matched) / len(matched),
        mismatched=sum(mismatched) / len(mismatched),
        low=low,
        high=high,
        num_clips=len(matched),
        others="other clips" if len(usable) > 1 else "shifted audio",
    )


def _other_onsets(
    clips: Sequence[ClipMeasures], number: int, seconds: float, generator: torch.Generator
) -> list[Tensor]:
    own = clips[number].onsets
    assert own is not None
    if len(clips) == 1:
        shifts = torch.arange(SHIFT_SECONDS, max(seconds - SHIFT_SECONDS, SHIFT_SECONDS), SHIFT_SECONDS)
        return [((own + shift) % seconds).sort().values for shift in shifts.tolist()]
    order = torch.randperm(len(clips), generator=generator).tolist()
    others = [clips[i].onsets for i in order if i != number][:OTHERS_PER_CLIP]
    return [onsets[onsets < seconds] for onsets in others if onsets is not None]


def _distance(
    name: str,
    clips: Sequence[ClipMeasures],
    protocol: Protocol,
    num_resamples: int,
    level: float,
    generator: torch.Generator,
) -> Metric | None:
    pairs = [clip.features[name] for clip in clips if name in clip.features and len(clip.features[name][0])]
    moments = [clip.moments[name] for clip in clips if name in clip.moments]
    if not moments:
        moments = [(moments_of(ours), moments_of(theirs)) for ours, theirs in pairs]
    ours, theirs = (_Stack([pair[i] for pair in moments]) for i in (0, 1)) if moments else (None, None)
    if ours is None or theirs is None or min(ours.count, theirs.count) < 2:
        return None
    size = None
    if name == "fgd" and protocol.features is not None and protocol.features.batch_windows is not None:
        frames = protocol.features.window_frames or _FRAMES_PER_FEATURE
        size = protocol.features.batch_windows * max(1, frames // _FRAMES_PER_FEATURE)

    def distance(chosen: Sequence[int]) -> float:
        if size is not None:
            return _batched_distance([pairs[i] for i in chosen], size, protocol.frechet)
        weights = torch.bincount(torch.tensor(chosen), minlength=len(moments)).double()
        return float(frechet_distance_of_moments(*ours.pool(weights), *theirs.pool(weights), rule=protocol.frechet))

    everything = list(range(len(moments)))
    if pairs and size is None:  # exact also where features are few
        value = float(frechet_distance(*(torch.cat(x) for x in zip(*pairs, strict=True)), rule=protocol.frechet))
    else:
        value = distance(everything)
    low = high = floor = None
    if num_resamples and len(moments) > 1:
        count = min(num_resamples, MAX_FRECHET_RESAMPLES)
        picks = torch.randint(len(moments), (count, len(moments)), generator=generator).tolist()
        low, high = _interval(torch.tensor([distance(pick) for pick in picks], dtype=torch.float64), level)
    if num_resamples and len(moments) >= 4:
        halves = []
        for _ in range(FLOOR_SPLITS):
            first = torch.zeros(len(moments), dtype=torch.float64)
            first[torch.randperm(len(moments), generator=generator)[: len(moments) // 2]] = 1
            parts = theirs.pool(first), theirs.pool(1 - first)
            halves.append(float(frechet_distance_of_moments(*parts[0], *parts[1], rule=protocol.frechet)))
        floor = sum(halves) / len(halves)
    note = f"{ours.count} features" + (f", fewer than their {ours.dim} dimensions" if ours.count <= ours.dim else "")
    return Metric(name=name, value=value, low=low, high=high, reference=floor, num_clips=len(moments), note=note)


class _Stack:
    """Moments of many clips, so that any resample of them is a few products."""

    def __init__(self, moments: Sequence[Moments]):
        kept = [x for x in moments if x.mean is not None and x.scatter is not None]
        self.counts = torch.tensor([x.count for x in kept], dtype=torch.float64)
        self.means = torch.stack([x.mean for x in kept if x.mean is not None])
        self.scatters = torch.stack([x.scatter for x in kept if x.scatter is not None])
        self.count, self.dim = int(self.counts.sum()), self.means.shape[1]

    def pool(self, weights: Tensor) -> Gaussian:
        """Moments of the set in which each clip stands so many times."""
        counts = weights * self.counts
        total = counts.sum()
        mean = counts @ self.means / total
        gaps = self.means - mean
        scatter = torch.tensordot(weights, self.scatters, dims=1) + (gaps * counts[:, None]).T @ gaps
        return Gaussian(mean, scatter / (total - 1))


def _batched_distance(pairs: Sequence[tuple[Tensor, Tensor]], size: int, rule: FrechetRule) -> float:
    ours, theirs = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    starts = range(0, len(ours), size)
    values = [frechet_distance(ours[i : i + size], theirs[i : i + size], rule=rule) for i in starts]
    return float(torch.stack(values).mean())


def _mean(
    name: str, clips: Sequence[ClipMeasures], num_resamples: int, level: float, generator: torch.Generator
) -> Metric | None:
    mean, reference = MeanAccumulator(), MeanAccumulator()
    found = [clip.values[name] for clip in clips if name in clip.values]
    for value, weight in found:
        mean.update(value, weight)
    for clip in clips:
        if name in clip.reference_values:
            reference.update(*clip.reference_values[name])
    low = high = None
    if num_resamples and len(found) > 1:
        values, weights = torch.tensor(found, dtype=torch.float64).T
        picks = torch.randint(len(found), (num_resamples, len(found)), generator=generator)
        low, high = _interval((values * weights)[picks].sum(1) / weights[picks].sum(1), level)
    return Metric(
        name=name,
        value=float(mean.compute()),
        low=low,
        high=high,
        reference=float(reference.compute()) if reference.weight else None,
        num_clips=len(found),
    )


def _interval(values: Tensor, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=values.dtype)).tolist()
    return low, high
