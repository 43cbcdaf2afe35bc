"""Many independent jobs in a few processes, with a bar; the order of results is that of the jobs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["run_jobs"]

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def run_jobs(
    function: Callable[[JobT], ResultT],
    jobs: Sequence[JobT],
    *,
    workers: int = 0,
    progress: bool | None = None,
    unit: str = "jobs",
) -> list[ResultT]:
    """``function`` of each job.

    Args:
        function: At the top of a module, so that processes find it.
        jobs: What it is called with; sent to processes, so small.
        workers: Processes, each on one thread; 0 works here.
        progress: Whether to draw a bar on standard error; None draws one on a terminal only.
        unit: What the bar counts.

    Raises:
        Exception: The first error of a job; those that are done by then stay done.

    Example:
        >>> run_jobs(len, ["one", "three"])
        [3, 5]
    """
    tqdm: Any = import_module("huggingface_hub.utils").tqdm
    disable = {None: None, True: False, False: True}[progress]
    with tqdm(total=len(jobs), unit=f" {unit}", disable=disable, leave=False) as bar:
        if not workers:
            results = []
            for job in jobs:
                results.append(function(job))
                bar.update(1)
            return results
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of torch hold
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            results = []
            for result in pool.map(function, jobs):
                results.append(result)
                bar.update(1)
            return results


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
