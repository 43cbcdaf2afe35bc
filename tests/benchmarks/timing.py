"""Timing contestants against each other in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

__all__ = ["compare"]


def compare(
    contestants: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds per call of each contestant.

    On a machine that others use too, ``clock=time.thread_time`` counts this thread's own seconds.

    They take turns, so that a busy moment of the machine hits all of them alike; each gets at least three turns and
    about ``seconds`` in all.
    """
    for run in contestants.values():
        run()  # warm-up: caches, lazy initialisation, compilation
    times: dict[str, list[float]] = {name: [] for name in contestants}
    deadline = time.perf_counter() + seconds * len(contestants)
    while time.perf_counter() < deadline or len(next(iter(times.values()))) < 3:
        for name, run in contestants.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: median(samples) for name, samples in times.items()}
