"""What a training will take: sizes, memory and time, from three passes on procedural data.

Nothing of the recipe's data or of other trainings has to be there: networks and losses are the recipe's own, inputs
that are missing are stood in for. Times are for the machine that the plan is made on.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cospeech.training.networks import LossStep, checkpoint_layers, run_in_precision
from cospeech.training.optimizers import make_optimizer
from cospeech.training.order import seeded
from cospeech.training.recipes import Recipe
from cospeech.training.task import Clock

__all__ = ["TrainingPlan", "plan_training"]


class TrainingPlan(NamedTuple):
    """Estimates for one process.

    Attributes:
        task: Of the recipe.
        folder: Of the run.
        parameters: That are trained.
        steps: In all.
        batch: Items of one step, over all passes and processes.
        state_bytes: Weights, gradients, the optimizer's moments, the average.
        activation_bytes: Kept for the backward pass of one pass, in proportion to its items.
        step_seconds: Of one step on this machine, in proportion to its items.
        measured_batch: Items that the last two were measured on.
    """

    task: str
    folder: str
    parameters: int
    steps: int
    batch: int
    state_bytes: int
    activation_bytes: int
    step_seconds: float
    measured_batch: int

    def __str__(self) -> str:
        hours = self.step_seconds * self.steps / 3600
        length = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
        total = self.state_bytes + self.activation_bytes
        return (
            f"{self.task} -> {self.folder}\n"
            f"  parameters  {self.parameters:,}\n"
            f"  steps       {self.steps:,} of {self.batch} items\n"
            f"  memory      {_size(total)} a process: {_size(self.state_bytes)} weights, gradients and optimizer, "
            f"{_size(self.activation_bytes)} activations\n"
            f"  time        {length} on this machine, {self.step_seconds:.3g} s a step "
            f"(from passes of {self.measured_batch} items)"
        )


def plan_training(recipe: Recipe, *, num_processes: int = 1, device: torch.device | str = "cpu") -> TrainingPlan:
    """Estimate a training.

    Args:
        recipe: Of one training.
        num_processes: It is meant for.
        device: Where it will run.
    """
    run, device = recipe.run, torch.device(device)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(run.seed)
        task = recipe.task.rehearsal(Path(folder)).build()
        for network in task.networks:
            run_in_precision(network, run.precision, device)
            if run.checkpoint_layers:
                checkpoint_layers(network)
        size = min(run.batch_size, 4, task.num_items)
        batch = task.batch(list(range(size)), seeded(0))
        module = LossStep(task).to(device).train()
        batch = _moved(batch, device)
        optimizer = make_optimizer(task.model.parameters(), recipe.optimizer)
        kept, seconds = _Kept(task.model), []
        for number in range(3):  # the first pass warms up, and makes the optimizer's state
            start = time.perf_counter()
            counting = torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor)
            with counting if number == 0 else nullcontext():
                loss = module(batch, Clock(0, run.steps, 0.0, seeded(number)))["total"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
        weights = [p for p in task.model.parameters() if p.requires_grad]
        weight_bytes = sum(p.numel() * p.element_size() for p in weights)
        moments = {"sgd": 1}.get(recipe.optimizer.name, 2)
        # Spread weights and gradients are whole besides while a pass is under way.
        shares, whole = (num_processes, 2) if run.shard and num_processes > 1 else (1, 0)
        return TrainingPlan(
            task=recipe.task_name,
            folder=run.folder,
            parameters=sum(p.numel() for p in weights),
            steps=run.steps,
            batch=run.batch_size * run.accumulate * num_processes,
            state_bytes=weight_bytes * whole + weight_bytes * (2 + moments + (run.ema_decay > 0)) // shares,
            activation_bytes=kept.most * run.batch_size // size,
            step_seconds=min(seconds) * run.accumulate * run.batch_size / size,
            measured_batch=size,
        )


class _Kept:
    """Counts the bytes that a forward pass keeps, each storage once and parameters not at all."""

    def __init__(self, model: torch.nn.Module):
        self._seen: set[int] = set()
        self._own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.most = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own and storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.most += storage.nbytes()
        return tensor


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if hasattr(batch, "_fields"):
        return type(batch)(*(_moved(part, device) for part in batch))
    return batch


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
