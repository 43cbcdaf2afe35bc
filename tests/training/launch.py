"""Programs in processes of their own, found by no import path and by no fork."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

Processes = Sequence["subprocess.Popen[bytes]"]


def start(program: Sequence[str], num_processes: int, *, machines: int = 1) -> Processes:
    """The program ``num_processes`` times, as ``torchrun`` starts it on so many machines, on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    alone = {name: value for name, value in os.environ.items() if name not in names}
    alone |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    count, here = str(num_processes), num_processes // machines
    together = [("127.0.0.1", port, count, str(here), str(rank), str(rank % here)) for rank in range(num_processes)]
    order = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")
    ranks = [dict(zip(order, values, strict=True)) for values in together] if num_processes > 1 else [{}]
    return [subprocess.Popen([sys.executable, *program], env=alone | rank) for rank in ranks]


def finish(processes: Processes, *, timeout: float = 300.0) -> None:
    """Wait for all of them to succeed."""
    try:
        codes = [process.wait(timeout) for process in processes]
    finally:
        kill(processes)
    assert codes == [0] * len(codes)


def kill(processes: Processes) -> None:
    """SIGKILL, which nothing can prepare for."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait()


def wait_for_lines(processes: Processes, lines: int, metrics: Path, *, timeout: float = 300.0) -> None:
    """Until ``lines`` lines of metrics are there."""
    end = time.monotonic() + timeout
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= lines):
        assert time.monotonic() < end, "it did not begin"
        assert all(process.poll() is None for process in processes), "it ended before it could be stopped"
        time.sleep(0.005)


def kill_at(processes: Processes, lines: int, metrics: Path) -> None:
    """SIGKILL as soon as ``lines`` lines of metrics are there, wherever the training is by then."""
    wait_for_lines(processes, lines, metrics)
    kill(processes)
