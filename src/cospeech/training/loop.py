"""One loop that trains any task, from a laptop to a cluster, and can be stopped anywhere.

Accelerate spreads it over processes and devices; what is specific to a network is in its ``TrainingTask``. A run is a
folder: ``checkpoints/``, ``metrics.jsonl``, ``samples/``, ``model/``. Started again, it goes on from its newest whole
checkpoint, on one machine with the very numbers of a run that was never stopped.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cospeech._extras import require
from cospeech.metrics import MeanAccumulator, merge_processes
from cospeech.training.checkpoint import Progress, load_checkpoint, newest_checkpoint, save_checkpoint
from cospeech.training.config import ConfigError, OptimizerConfig, RunConfig, ScheduleConfig
from cospeech.training.ema import WeightAverage
from cospeech.training.interruption import Interruption, ignore_in_worker
from cospeech.training.journal import Journal, fail_if_not_finite
from cospeech.training.networks import LossStep, checkpoint_layers, run_in_precision
from cospeech.training.optimizers import make_optimizer, rate_factor
from cospeech.training.order import BatchOrder, NumberedBatches, ShardOrder, seeded
from cospeech.training.sharding import WholeModel, release, shard, share_buffers
from cospeech.training.task import Clock, TrainingTask
from cospeech.training.trackers import check_trackers

__all__ = ["make_accelerator", "train", "validate"]


def make_accelerator(run: RunConfig) -> Any:
    """Accelerate's engine for a run, as ``accelerate launch`` or ``torchrun`` started the process.

    Raises:
        MissingExtraError: If Accelerate is not installed, or a tracker.
        ConfigError: If Accelerate was told to spread weights itself.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        raise ConfigError("Weights are spread by the recipe: set run.shard=true and leave out Accelerate's --use_fsdp.")
    accelerate = require("accelerate", extra="train", purpose="Training")
    utils: Any = accelerate.utils
    check_trackers(run.trackers)
    # Accelerate joins several processes on a machine without accelerator only if it is told that there is none.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return accelerate.Accelerator(
        cpu=several and not torch.cuda.is_available(),
        gradient_accumulation_steps=run.accumulate,
        # Half precision is for networks, not for losses: see cospeech.training.networks. Its scaler of gradients is the
        # loop's own, since Accelerate has none on a CPU, and admits one precision in the life of a process.
        mixed_precision="no",
        kwargs_handlers=[utils.DistributedDataParallelKwargs(find_unused_parameters=True)],
        log_with=list(run.trackers) or None,
        project_config=utils.ProjectConfiguration(project_dir=run.folder, logging_dir=run.folder),
    )


def train(
    task: TrainingTask,
    run: RunConfig,
    optimizer_config: OptimizerConfig | None = None,
    schedule: ScheduleConfig | None = None,
    *,
    accelerator: Any = None,
) -> nn.Module:
    """Train to the end, from wherever the run's folder is; the model, in evaluation mode, averaged where asked for.

    Args:
        task: What is trained.
        run: How long, how large, how often.
        optimizer_config: The rule; Adam at 1e-4 by default.
        schedule: The learning rate; constant by default.
        accelerator: The engine; see ``make_accelerator``.

    Raises:
        TrainingError: If the loss is not finite.
        CheckpointError: If all checkpoints of the folder are broken, or for another model.
    """
    rule, schedule = optimizer_config or OptimizerConfig(), schedule or ScheduleConfig()
    accelerator = accelerator or make_accelerator(run)
    process, num_processes, folder = accelerator.process_index, accelerator.num_processes, Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    require("accelerate", extra="train", purpose="Training").utils.set_seed(run.seed, device_specific=True)

    spread = run.shard and num_processes > 1
    whole = WholeModel(task) if spread else None
    for network in task.networks:
        run_in_precision(network, run.precision, accelerator.device)
        if run.checkpoint_layers:
            checkpoint_layers(network)
        if run.compile:
            network.compile(dynamic=False)
    inner = LossStep(task).to(accelerator.device)
    if spread:
        shard(inner, accelerator.device)
    step_module = inner if spread else accelerator.prepare(inner)
    model: nn.Module = inner.model
    scaler = torch.amp.GradScaler(accelerator.device.type, enabled=run.precision == "fp16")
    optimizer = make_optimizer(model.parameters(), rule, fused=not scaler.is_enabled())
    average = WeightAverage(model, run.ema_decay) if run.ema_decay else None
    progress = Progress(model, optimizer, average, scaler if scaler.is_enabled() else None)
    newest = newest_checkpoint(folder / "checkpoints")
    here = {"process": process, "num_processes": num_processes}
    first = load_checkpoint(newest, progress, **here) if newest else 0

    place = (run.batch_size, run.seed, process, num_processes)
    weights = task.item_weights
    order = ShardOrder(task.shard_sizes, *place) if task.shard_sizes else BatchOrder(task.num_items, *place, weights)
    batches = iter(_loader(task, order, run, range(first * run.accumulate, run.steps * run.accumulate)))
    settings = {"run": asdict(run), "optimizer": asdict(rule), "schedule": asdict(schedule)}
    journal = Journal(folder, accelerator, first_step=first, total_steps=run.steps, settings=settings)
    step_module.train()
    with Interruption() as interruption:
        for step in range(first, run.steps):
            rate = rule.learning_rate * rate_factor(step, run.steps, schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if spread:
                share_buffers(model)
            for number in range(step * run.accumulate, (step + 1) * run.accumulate):
                batch = _to(next(batches), accelerator.device)
                # Two processes draw what one process draws in two passes.
                generator = seeded(run.seed, 1, number * num_processes + process)
                with accelerator.accumulate(step_module):
                    losses = step_module(batch, Clock(step, run.steps, order.epoch(number), generator))
                    fail_if_not_finite(losses, batch, step, folder, process)
                    accelerator.backward(scaler.scale(losses["total"]))
                journal.count(losses, run.accumulate)
            moved = _take_step(optimizer, scaler, rule)
            if average is not None and moved:
                average.update(step)
            done = step + 1
            journal.step(done, rate, tell=done % run.log_every == 0 or done == run.steps)
            if run.validate_every and task.num_held_out and (done % run.validate_every == 0 or done == run.steps):
                with average.applied() if average is not None else torch.no_grad():
                    journal.write(done, validate(task, inner, run, accelerator, step))
                    _write_samples(task, run, whole, accelerator, folder / "samples" / f"step-{done:08d}")
                step_module.train()
            stop = interruption.asked(accelerator)
            if done % run.checkpoint_every == 0 or done == run.steps or stop:
                save_checkpoint(folder / "checkpoints", done, progress, keep=run.keep_checkpoints, **here)
            if stop:
                journal.close()
                interruption.obey()
    journal.close()
    if average is not None:
        average.apply()
    if whole is not None:
        model = whole.finish()
    model.eval()
    if accelerator.is_main_process:
        task.save(folder / "model")
    return model


@torch.no_grad()
def validate(task: TrainingTask, module: nn.Module, run: RunConfig, accelerator: Any, step: int) -> dict[str, float]:
    """Means over the held-out items of what the task measures, each process its share, merged in the order of ranks."""
    module.eval()
    share = range(accelerator.process_index, task.num_held_out, accelerator.num_processes)
    items = [task.num_items + number for number in share]
    # A spread network runs in all processes or in none: who has fewer items goes along with one that does not count.
    spread = run.shard and accelerator.num_processes > 1
    most = -(-task.num_held_out // accelerator.num_processes) if spread else len(items)
    starts = range(0, most, run.batch_size)[: run.validation_batches or None]
    means: dict[str, MeanAccumulator] = {}
    for start in starts:
        counted = items[start : start + run.batch_size]
        chosen = counted or [task.num_items]
        generator = seeded(run.seed, 2, chosen[0])
        batch = _to(task.batch(chosen, generator), accelerator.device)
        measured = module(batch, Clock(step, run.steps, 0.0, generator))
        for name, value in measured.items() if counted else ():
            means.setdefault(name, MeanAccumulator()).update(value.cpu(), weight=len(counted))
    if spread:
        release(module)  # or the next pass might run on the averaged weights, kept whole
    # A process without held-out items takes part with empty means, under the names that the others have.
    names: list[Any] = [None] * accelerator.num_processes
    if accelerator.num_processes > 1:
        torch.distributed.all_gather_object(names, sorted(means))
    for name in sorted({name for found in names for name in found or ()}):
        means.setdefault(name, MeanAccumulator())
    merged = {name: merge_processes(mean) for name, mean in sorted(means.items())}
    return {f"validation/{name}": float(mean.compute()) for name, mean in merged.items()}


def _loader(
    task: TrainingTask, order: BatchOrder | ShardOrder, run: RunConfig, numbers: range
) -> torch.utils.data.DataLoader[Any]:
    return torch.utils.data.DataLoader(
        NumberedBatches(task, order),
        batch_size=None,
        sampler=numbers,
        num_workers=run.workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_in_worker,
        generator=torch.Generator(),  # or else it would draw from the global one, and a resumed run once more
    )


def _take_step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, rule: OptimizerConfig) -> bool:
    """Move the weights; False where scaled gradients overflowed, and the step was left out."""
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if rule.clip_norm:
        torch.nn.utils.clip_grad_norm_(parameters, rule.clip_norm)
    if rule.clip_value:
        torch.nn.utils.clip_grad_value_(parameters, rule.clip_value)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return scaler.get_scale() >= before


def _to(batch: Any, device: torch.device) -> Any:
    return require("accelerate", extra="train", purpose="Training").utils.send_to_device(batch, device)


def _write_samples(
    task: TrainingTask, run: RunConfig, whole: WholeModel | None, accelerator: Any, folder: Path
) -> None:
    from cospeech.viz import save_html

    clips = min(run.sample_clips, task.num_held_out)
    with whole.in_place(accelerator.device) if whole is not None and clips else nullcontext():
        for number in range(clips) if accelerator.is_main_process else ():
            motion = task.sample(number, seeded(run.seed, 3, number))
            if motion is not None:
                folder.mkdir(parents=True, exist_ok=True)
                save_html(motion, folder / f"{number:03d}.html", title=f"{folder.name}, clip {number}")
