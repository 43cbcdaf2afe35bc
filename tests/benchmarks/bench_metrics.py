"""Metrics against what the published programs do, written again here as slow twins: equal values, other times.

``python tests/benchmarks/bench_metrics.py`` prints a Markdown table and what an hour of motion takes. Times are of one
thread's processor, so that neighbours on the machine count less; slow twins that take seconds run once. ``--full``
takes longer medians, ``--hour`` only evaluates the hour (in one process; ``--processes 2`` in two).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import scipy.linalg
import torch
from scipy.signal import argrelextrema
from threadpoolctl import threadpool_limits

from cospeech.evaluation import evaluate_folders
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


def processor_seconds(run, *, least: float, turns: int = 3) -> float:
    """Median time of this thread for one call, of ``turns`` calls or as many as fill ``least`` seconds."""
    times: list[float] = []
    while len(times) < turns or sum(times) < least:
        start = time.thread_time()
        run()
        times.append(time.thread_time() - start)
    return median(times)


def report(name: str, slow, fast, *, tolerance: float = 1e-8) -> None:
    start = time.thread_time()
    a = float(slow())
    before = time.thread_time() - start
    b = float(fast())
    if before < 1.0:  # what takes seconds is not run again
        before = processor_seconds(slow, least=SECONDS)
    after = processor_seconds(fast, least=SECONDS)
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
        )
    report("L1 diversity, 10 min", lambda: slow_l1(positions.numpy()), lambda: l1_deviation(positions), tolerance=1e-5)


def frechet_rows(generator: torch.Generator) -> None:
    for dim in (240, 512, 2048):
        sets = [torch.randn(2 * dim, dim, dtype=torch.float64, generator=generator) * s for s in (1.0, 1.3)]
        moments = [(x.mean(0), torch.cov(x.T)) for x in sets]
        plain = [y.numpy() for pair in moments for y in pair]
        report(
            f"Fréchet from moments, {dim} dimensions",
            lambda plain=plain: slow_frechet(*plain),
            lambda moments=moments: frechet_distance_of_moments(*moments[0], *moments[1]),
        )
    for count, dim in ((100, 240), (100, 512), (1000, 2048)):
        sets = [torch.randn(count, dim, dtype=torch.float64, generator=generator) * s for s in (1.0, 1.3)]
        report(
            f"Fréchet of {count} features of {dim} dimensions",
            lambda sets=sets: slow_frechet_of_features(sets[0].numpy(), sets[1].numpy()),
            lambda sets=sets: frechet_distance(*sets),
            tolerance=1e-6,  # the general root of a singular matrix is not exact
        )


def an_hour(generator: torch.Generator, num_processes: int) -> None:
    """Every body metric of the recommended protocol from files, FGD with random weights included, with intervals."""
    extractor = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("generated", "reference", "audio"):
            (root / folder).mkdir()
        samples = torch.randn(60 * 16_000, generator=generator) * (torch.arange(960_000) % 6000 < 2000)
        for folder in ("generated", "reference"):
            angles = random_walk(1800, generator) * 0.3
            motion = Motion(local_axis_angle=angles, translation=torch.zeros(1800, 3), rate_hz=RATE_HZ)
            for i in range(60):
                motion.save(root / folder / f"{i:02}.npz")
        for i in range(60):
            with wave.open(str(root / "audio" / f"{i:02}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes((samples.clamp(-3, 3) * 10_000).short().numpy().tobytes())
        del samples
        start, used = time.perf_counter(), os.times()
        found = evaluate_folders(
            root / "generated",
            root / "reference",
            audio=root / "audio",
            extractor=extractor,
            num_processes=num_processes,
        )
        wall, after = time.perf_counter() - start, os.times()
    spent = sum(after[:4]) - sum(used[:4])
    own, children = (resource.getrusage(x).ru_maxrss / 1e6 for x in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    workers = "" if num_processes == 1 else f", {num_processes} workers of {children:.2f} GB"
    print(
        f"\nAn hour in 60 clips, files to table, {len(found.metrics)} measures with intervals: {wall:.1f} s, "
        f"{spent:.1f} s of processor; {own:.2f} GB at most{workers}."
    )


def main() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)  # SciPy's and NumPy's linear algebra too
    generator = torch.Generator().manual_seed(0)
    print(f"{len(BEAT_JOINTS)} joints scored; relative differences on the right.\n")
    print("| | published way | cospeech | ratio | difference |")
    print("|---|---|---|---|---|")
    frechet_rows(generator)
    beat_rows(generator)
    # In a process of its own, so that the memory is its own.
    run = subprocess.run([sys.executable, __file__, "--hour"], capture_output=True, text=True, check=True)
    print(run.stdout, end="")


SECONDS = 2.0 if "--full" in sys.argv else 0.3

if __name__ == "__main__":
    if "--hour" in sys.argv:
        torch.set_num_threads(1)
        an_hour(torch.Generator().manual_seed(0), 2 if "2" in sys.argv else 1)
    else:
        main()
