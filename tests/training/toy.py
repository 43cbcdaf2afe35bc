"""A training that takes milliseconds and draws from everything that a training can draw from; also a program.

    python toy.py KIND:FOLDER:STEPS:BATCH[:OPTIONS] ...   # one after the other; processes are counted as torchrun does

Kinds: ``noisy``, ``slow`` (noisy, with a pause in each pass), ``plain`` (draws nothing but the order of items),
``broken`` (noisy; the last process's loss is infinite in step 7). Options are those of the run, as JSON.
``cut:FROM:TO:STEP`` copies a run as it was after some step.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from cospeech.hub import save_tensors
from cospeech.training.checkpoint import find_checkpoints
from cospeech.training.config import OptimizerConfig, RunConfig, ScheduleConfig
from cospeech.training.loop import train
from cospeech.training.task import Clock, Terms, TrainingTask


class Network(nn.Module):
    """Repeated layers between two others, and where ``dropout`` is above 0 a buffer that follows the data."""

    def __init__(self, dropout: float):
        super().__init__()
        self.first, self.last = nn.Linear(3, 16), nn.Linear(16, 2)
        self.layers = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.dropout.p:
            self.seen = torch.lerp(self.seen, x.mean(0), 0.1)
            x = x - self.seen
        x = self.first(x)
        for layer in self.layers:
            x = x + self.dropout(torch.tanh(layer(x)))
        return self.last(x)


class Toy(TrainingTask):
    """A small network, fitted to a line; noisy ones have dropout, and losses that draw from all generators."""

    num_items, num_held_out = 37, 7

    def __init__(self, kind: str = "noisy", *, broken_step: int = -1):
        torch.manual_seed(0)
        self.noisy, self.pause, self.broken_step = kind != "plain", 0.01 * (kind == "slow"), broken_step
        if kind == "broken" and os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1):
            self.broken_step = 7
        self.model: nn.Module = Network(0.2 if self.noisy else 0.0)
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
        """The weights, and which process wrote them."""
        save_tensors(self.model.state_dict(), Path(folder) / f"by-{os.environ.get('RANK', '0')}.safetensors")


RULE = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.01, clip_norm=1.0)
SCHEDULE = ScheduleConfig(name="cosine", warmup_steps=5)


def run(folder: str | Path, steps: int, batch_size: int, **options: Any) -> RunConfig:
    """The settings of all toy runs."""
    settings = {"accumulate": 2, "ema_decay": 0.9, "checkpoint_every": 5, "log_every": 1, "validate_every": 10}
    return RunConfig(folder=str(folder), steps=steps, batch_size=batch_size, **{**settings, **options})


def cut(source: str, target: str, step: int) -> None:
    """Copy a run without what came after ``step``; all processes wait until it is there."""
    if os.environ.get("RANK", "0") == "0":
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("model"))
        for later in find_checkpoints(Path(target) / "checkpoints"):
            if later.name > f"step-{step:08d}":
                shutil.rmtree(later)
    PartialState().wait_for_everyone()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for argument in sys.argv[1:]:
        kind, folder, third, fourth, *options = argument.split(":", 4)
        if kind == "cut":
            cut(folder, third, int(fourth))
        else:
            settings = run(folder, int(third), int(fourth), **json.loads("".join(options) or "{}"))
            train(Toy(kind), settings, RULE, SCHEDULE)
    PartialState().destroy_process_group()
