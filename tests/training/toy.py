"""A training that takes milliseconds and draws from everything that a training can draw from; also a program.

    python toy.py KIND:FOLDER:STEPS:BATCH ...   # one after the other; processes are counted as torchrun does

Kinds: ``noisy``, ``slow`` (noisy, with a pause in each pass), ``plain`` (draws nothing but the order of items).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from cospeech.training.config import OptimizerConfig, RunConfig, ScheduleConfig
from cospeech.training.loop import train
from cospeech.training.task import Clock, Terms, TrainingTask


class Toy(TrainingTask):
    """A small network, fitted to a line; noisy ones have dropout, and losses that draw from all generators."""

    num_items, num_held_out = 37, 7

    def __init__(self, kind: str = "noisy", *, broken_step: int = -1):
        torch.manual_seed(0)
        self.noisy, self.pause, self.broken_step = kind != "plain", 0.01 * (kind == "slow"), broken_step
        dropout = nn.Dropout(0.2 if self.noisy else 0.0)
        self.model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), dropout, nn.Linear(16, 2))
        self.data = torch.randn(44, 5, generator=torch.Generator().manual_seed(1))

    def batch(self, items: Sequence[int], generator: torch.Generator) -> Tensor:
        noise = 0.1 * torch.randn(len(items), 5, generator=generator) if self.noisy else 0.0
        return self.data[list(items)] + noise

    def losses(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        time.sleep(self.pause)
        shift: float | Tensor = 0.0
        if self.noisy and model.training:
            shift = random.random() + np.random.rand() + torch.rand((), generator=clock.generator)  # noqa: NPY002
        error = (model(batch[:, :3]) - batch[:, 3:] - 0.1 * shift).square().mean()
        if clock.step == self.broken_step:
            error = error / 0
        return {"total": error, "half": error / 2}

    def save(self, folder: Any) -> None:
        """Nothing: tests read checkpoints."""


RULE = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.01, clip_norm=1.0)
SCHEDULE = ScheduleConfig(name="cosine", warmup_steps=5)


def run(folder: str | Path, steps: int, batch_size: int, **options: Any) -> RunConfig:
    """The settings of all toy runs."""
    settings = {"accumulate": 2, "ema_decay": 0.9, "checkpoint_every": 5, "log_every": 1, "validate_every": 10}
    return RunConfig(folder=str(folder), steps=steps, batch_size=batch_size, **{**settings, **options})


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        kind, folder, steps, batch_size = argument.split(":")
        train(Toy(kind), run(folder, int(steps), int(batch_size)), RULE, SCHEDULE)
    PartialState().destroy_process_group()
