"""SIGTERM, by which clusters take a machine back: heard at once, obeyed when a checkpoint is written."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch

__all__ = ["Interruption", "ignore_in_worker"]


class Interruption:
    """Holds SIGTERM back from entering the block until ``obey``.

    A handler that somebody else has set stays, and so does a signal that is ignored; outside of the main thread nothing
    can be held back.
    """

    def __init__(self) -> None:
        self._heard, self._holding = False, False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._note)
            self._holding = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._holding:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._holding = False

    def asked(self, accelerator: Any) -> bool:
        """Whether any process has heard the signal; to be called by all of them at the same step."""
        if accelerator.num_processes == 1:
            return self._heard
        heard = torch.tensor([float(self._heard)], device=accelerator.device)
        return bool(accelerator.reduce(heard, "sum") > 0)

    def obey(self) -> None:
        """End this process by SIGTERM, as it would have ended."""
        self.__exit__()
        signal.raise_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._heard = True


def ignore_in_worker(worker: int) -> None:
    """For a loader's process: a signal to the whole group must not take the batches from the last steps."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
