"""Metrics against what the published programs do, written again here as slow twins: equal values, other times.

``python tests/benchmarks/bench_metrics.py`` prints a Markdown table, one thread; ``--large`` adds 2048 dimensions,
``--hour`` evaluates an hour of motion.
"""

from __future__ import annotations

import resource
import time
from dataclasses import replace

import numpy as np
import scipy.linalg
import torch
from scipy.signal import argrelextrema
from timing import compare

from cospeech.evaluation import get_protocol, measure_clip, summarize
from cospeech.metrics import (
    BEAT_JOINTS,
    BeatRule,
    beat_alignment,
    frechet_distance,
    frechet_distance_of_moments,
    l1_deviation,
)
from cospeech.models import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.motion import Motion

RATE_HZ = 30.0


def slow_beats(positions, usual, rule):
    """Minima of every joint, and a search through two lists for each."""
    speed = np.linalg.norm(np.gradient(positions, 1 / RATE_HZ, axis=0), axis=-1) / usual
    margin = rule.margin_frames(RATE_HZ)
    beats = []
    for joint in range(positions.shape[1]):
        minima = argrelextrema(speed[margin : len(speed) - margin, joint], np.less, order=rule.order)[0]
        fast = np.where(speed[:, joint] > rule.threshold)[0]
        beats.append(np.array([j for j in minima if j in fast]))
    return beats


def slow_alignment(positions, onsets, usual, rule):
    """A loop over joints, onsets and beats."""
    beats = slow_beats(positions, usual, rule)
    total = 0.0
    for joint in rule.joints:
        score = 0.0
        for onset in onsets:
            nearest = np.inf
            for beat in beats[joint] / RATE_HZ:
                nearest = min(nearest, abs(beat - onset))
            score += np.exp(-(nearest**2) / (2 * rule.sigma_seconds**2))
        total += score / len(onsets)
    return total / len(rule.joints)


def slow_frechet(mean, covariance, other_mean, other_covariance):
    """The general matrix root."""
    root = scipy.linalg.sqrtm(covariance @ other_covariance)
    gap = mean - other_mean
    return float(gap @ gap + covariance.trace() + other_covariance.trace() - 2 * root.trace().real)


def slow_frechet_of_features(a, b):
    return slow_frechet(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))


def slow_l1(positions):
    """Row by row, on a copy, since it writes over its input."""
    rows = positions.reshape(len(positions), -1).copy()
    mean = rows.mean(0)
    total = 0.0
    for i in range(len(rows)):
        rows[i] = abs(rows[i] - mean)
        total += rows[i].sum()
    return total / len(rows)


def report(name: str, slow, fast, *, seconds: float = 2.0, tolerance: float = 1e-8) -> None:
    a, b = float(slow()), float(fast())
    times = compare({"published": slow, "cospeech": fast}, seconds=seconds)
    before, after = times["published"], times["cospeech"]
    gap = abs(a - b) / abs(a)
    mark = "" if gap <= tolerance else " (!)"
    print(
        f"| {name} | {before * 1e3:.3g} ms | {after * 1e3:.3g} ms | {before / after:.1f}x | {gap:.0e}{mark} |",
        flush=True,
    )


def random_walk(num_frames: int, generator: torch.Generator) -> torch.Tensor:
    """Positions whose joints wander about as fast as people's: ``(T, 55, 3)``."""
    steps = torch.randn(num_frames, 55, 3, generator=generator)
    smooth = torch.nn.functional.avg_pool1d(steps.flatten(1).T[None], 9, 1, 4)[0].T
    return (smooth * 0.02).cumsum(0).unflatten(1, (55, 3)).contiguous()


def beat_rows(generator: torch.Generator) -> None:
    positions = random_walk(18_000, generator)
    onsets = (torch.rand(3218, generator=generator, dtype=torch.float64) * 596).sort().values
    usual = torch.full((55,), 0.15)
    for name, rule in (("evaltools", BeatRule()), ("legacy", BeatRule(threshold=0.3, rectify=True))):
        x = positions if not rule.rectify else (positions - positions.mean(0)).abs()
        plain = replace(rule, rectify=False)
        report(
            f"beat consistency, 10 min, {name}",
            lambda x=x, plain=plain: slow_alignment(x.numpy(), onsets.numpy(), usual.numpy(), plain),
            lambda x=x, plain=plain: beat_alignment(x, onsets, rate_hz=RATE_HZ, usual_speeds=usual, rule=plain).score,
            seconds=1.0,
        )
    report("L1 diversity, 10 min", lambda: slow_l1(positions.numpy()), lambda: l1_deviation(positions), tolerance=1e-5)


def frechet_rows(generator: torch.Generator) -> None:
    for dim in (240, 512):
        sets = [torch.randn(2 * dim, dim, dtype=torch.float64, generator=generator) * s for s in (1.0, 1.3)]
        moments = [(x.mean(0), torch.cov(x.T)) for x in sets]
        plain = [y.numpy() for pair in moments for y in pair]
        report(
            f"Fréchet from moments, {dim} dimensions",
            lambda plain=plain: slow_frechet(*plain),
            lambda moments=moments: frechet_distance_of_moments(*moments[0], *moments[1]),
            seconds=1.0,
        )
    for count, dim in ((100, 240), (100, 512)):
        sets = [torch.randn(count, dim, dtype=torch.float64, generator=generator) * s for s in (1.0, 1.3)]
        report(
            f"Fréchet of {count} features of {dim} dimensions",
            lambda sets=sets: slow_frechet_of_features(sets[0].numpy(), sets[1].numpy()),
            lambda sets=sets: frechet_distance(*sets),
            seconds=1.0,
            tolerance=1e-6,  # the general root of a singular matrix is not exact
        )


def large_rows(generator: torch.Generator) -> None:
    """2048 dimensions, once each: the general root alone takes a quarter of a minute."""
    for count in (4096, 1000):
        sets = [torch.randn(count, 2048, dtype=torch.float64, generator=generator) * s for s in (1.0, 1.3)]
        start = time.perf_counter()
        fast = float(frechet_distance(*sets))
        middle = time.perf_counter()
        slow = slow_frechet_of_features(sets[0].numpy(), sets[1].numpy())
        before, after = time.perf_counter() - middle, middle - start
        print(
            f"| Fréchet of {count} features of 2048 dimensions, once | {before:.1f} s | {after:.2f} s | "
            f"{before / after:.1f}x | {abs(slow - fast) / abs(slow):.0e} |",
            flush=True,
        )


def an_hour(generator: torch.Generator) -> None:
    """Every body metric of the recommended protocol, FGD with random weights included."""
    extractor = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval()
    protocol = get_protocol("cospeech")
    clips, minutes = [], 60
    motions = []
    for _ in range(2):
        angles = random_walk(1800, generator) * 0.3
        motions.append(Motion(local_axis_angle=angles, translation=torch.zeros(1800, 3), rate_hz=RATE_HZ))
    waveform = torch.randn(60 * 16_000, generator=generator) * (torch.arange(960_000) % 6000 < 2000)
    start = time.perf_counter()
    with torch.inference_mode():
        for i in range(minutes):
            clips.append(measure_clip(str(i), *motions, protocol, waveform=waveform, extractor=extractor))
    measured = time.perf_counter() - start
    summarize(clips, protocol, num_resamples=0)
    whole = time.perf_counter() - start
    summarize(clips, protocol)
    intervals = time.perf_counter() - start - whole
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"\n1 hour in 60 clips, every measure: {measured:.1f} s for the clips, {whole - measured:.1f} s for the set, "
        f"{intervals:.1f} s for intervals; {peak:.2f} GB at most."
    )


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    print(f"{len(BEAT_JOINTS)} joints scored; relative differences on the right.\n")
    print("| | published way | cospeech | ratio | difference |")
    print("|---|---|---|---|---|")
    frechet_rows(generator)
    beat_rows(generator)


if __name__ == "__main__":
    import sys

    if "--large" in sys.argv:
        torch.set_num_threads(1)
        large_rows(torch.Generator().manual_seed(0))
    elif "--hour" in sys.argv:  # alone, so that the memory is its own
        torch.set_num_threads(2)
        an_hour(torch.Generator().manual_seed(0))
    else:
        main()
