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
from cospeech.evaluation.resampling import MomentStack, percentile_interval, resampled_distances, resampled_means
from cospeech.evaluation.sets import SET_MEASURES, SetMeasure
from cospeech.metrics import (
    FrechetRule,
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
        reference: The same of the reference clips, or for a distance its floor: to the training clips, or without
            these between random halves of the reference.
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
    train: Sequence[ClipMeasures] = (),
) -> list[Metric]:
    """The numbers of a set of clips, in the protocol's order; measures that no clip has are left out.

    Args:
        clips: What ``measure_clip`` gave; their order matters to ``globaldiff`` only.
        protocol: The same.
        num_resamples: Bootstrap resamples; 0 for no intervals. Distances take 200 at most.
        level: Of the intervals.
        seed: Of resamples and splits.
        train: Recorded clips of the training set: their distance to the recorded clips is the floor of a distance.
            Without, it is that between random halves of the recorded clips.
    """
    generator = torch.Generator().manual_seed(seed)
    metrics = []
    for name in protocol.measures:
        measure = SET_MEASURES.get((protocol.name, name))
        if measure is not None and any(name in clip.samples for clip in clips):
            metrics.append(_of_set(name, clips, measure, num_resamples, level, generator))
        elif any(name in clip.features or name in clip.moments for clip in clips):
            metrics.append(_distance(name, clips, protocol, num_resamples, level, generator, train))
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
        low, high = percentile_interval(gaps[picks].mean(1), level)
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
    train: Sequence[ClipMeasures],
) -> Metric | None:
    pairs = [clip.features[name] for clip in clips if name in clip.features and len(clip.features[name][0])]
    moments = _moments(name, clips)
    if not moments:
        return None
    ours, theirs = (MomentStack([pair[i] for pair in moments]) for i in (0, 1))
    if min(ours.count, theirs.count) < 2:
        return None
    size, rule = _batch_features(name, protocol), protocol.frechet
    if size is not None:
        value = _batched_distance(pairs, size, rule)
    elif pairs:  # exact also where features are few
        value = float(frechet_distance(*(torch.cat(x) for x in zip(*pairs, strict=True)), rule=rule))
    else:
        value = float(frechet_distance_of_moments(*ours.whole(), *theirs.whole(), rule=rule))
    low = high = None
    if num_resamples and len(moments) > 1:
        count = min(num_resamples, MAX_FRECHET_RESAMPLES)
        picks = torch.randint(len(moments), (count, len(moments)), generator=generator)
        if size is not None:
            values = [_batched_distance([pairs[i] for i in pick], size, rule) for pick in picks.tolist()]
            found = torch.tensor(values, dtype=torch.float64)
        else:
            found = resampled_distances(ours, theirs, _times_picked(picks), rule)
        low, high = percentile_interval(found, level)
    note = f"{ours.count} features" + (f", fewer than their {ours.dim} dimensions" if ours.count <= ours.dim else "")
    return Metric(
        name=name,
        value=value,
        low=low,
        high=high,
        reference=_floor(theirs, _moments(name, train), rule, generator) if num_resamples or train else None,
        num_clips=len(moments),
        note=note,
    )


def _moments(name: str, clips: Sequence[ClipMeasures]) -> list[tuple[Moments, Moments]]:
    """Of the generated and the reference features of each clip that has any."""
    found = []
    for clip in clips:
        if name in clip.moments:
            found.append(clip.moments[name])
        elif name in clip.features and len(clip.features[name][0]):
            ours, theirs = clip.features[name]
            found.append((moments_of(ours), moments_of(theirs)))
    return found


def _batch_features(name: str, protocol: Protocol) -> int | None:
    """How many features one of the distances that are averaged has; None for one distance of all."""
    rule = protocol.features
    if name != "fgd" or rule is None or rule.batch_windows is None:
        return None
    return rule.batch_windows * max(1, (rule.window_frames or _FRAMES_PER_FEATURE) // _FRAMES_PER_FEATURE)


def _times_picked(picks: Tensor) -> Tensor:
    """How often each of ``N`` clips is among the picks ``(R, N)``."""
    return torch.zeros(picks.shape, dtype=torch.float64).scatter_add_(1, picks, torch.ones(1).double().expand_as(picks))


def _floor(
    theirs: MomentStack, train: Sequence[tuple[Moments, Moments]], rule: FrechetRule, generator: torch.Generator
) -> float | None:
    """The distance of recorded training clips to the recorded clips, or else between random halves of the latter."""
    if train:
        other = MomentStack([recorded for _, recorded in train])
        if min(other.count, theirs.count) < 2:
            return None
        return float(frechet_distance_of_moments(*other.whole(), *theirs.whole(), rule=rule))
    if theirs.num_clips < 4:
        return None
    order = torch.rand(FLOOR_SPLITS, theirs.num_clips, generator=generator).argsort(1)
    halves = (order < theirs.num_clips // 2).double()
    pairs = zip(theirs.pool(halves), theirs.pool(1 - halves), strict=True)
    values = [float(frechet_distance_of_moments(*a, *b, rule=rule)) for a, b in pairs]
    return sum(values) / len(values)


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
        low, high = percentile_interval(resampled_means(values, weights, picks), level)
    return Metric(
        name=name,
        value=float(mean.compute()),
        low=low,
        high=high,
        reference=float(reference.compute()) if reference.weight else None,
        num_clips=len(found),
    )


def _of_set(
    name: str,
    clips: Sequence[ClipMeasures],
    measure: SetMeasure,
    num_resamples: int,
    level: float,
    generator: torch.Generator,
) -> Metric | None:
    samples = [clip.samples[name] for clip in clips if name in clip.samples]
    ours, theirs = (
        measure([pair[i] for pair in samples if len(pair[i])] or [torch.zeros(0)], generator) for i in (0, 1)
    )
    if not len(ours):
        return None
    low = high = None
    if num_resamples and len(ours) > 1:
        picks = torch.randint(len(ours), (num_resamples, len(ours)), generator=generator)
        low, high = percentile_interval(ours.double()[picks].mean(1), level)
    return Metric(
        name=name,
        value=float(ours.mean()),
        low=low,
        high=high,
        reference=float(theirs.mean()) if len(theirs) else None,
        num_clips=len(samples),
    )
