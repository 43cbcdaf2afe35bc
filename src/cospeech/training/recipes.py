"""A recipe, a TOML file, to a training that runs.

A recipe holds ``[run]``, ``[optimizer]``, ``[schedule]`` and ``[task]``; or ``stages``, a list of recipes beside it
that run one after the other, since some networks need others that are trained. A stage may carry overrides behind its
name, as on the command line.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from cospeech.hub.config import config_to_dict
from cospeech.io import atomic_path
from cospeech.training.config import ConfigError, OptimizerConfig, RunConfig, ScheduleConfig, parse_fields, read_toml
from cospeech.training.loop import make_accelerator, train
from cospeech.training.task import TrainingTask
from cospeech.training.tasks import TASKS

__all__ = ["Recipe", "TaskConfig", "load_recipes", "prepare_data", "run_recipe"]

_MAY_CHANGE = {  # of a run that is already there
    *("folder", "compile", "checkpoint_layers", "shard", "workers", "checkpoint_every", "keep_checkpoints"),
    *("validate_every", "validation_batches", "sample_clips", "log_every", "trackers"),
}


class TaskConfig(Protocol):
    """What a ``[task]`` table becomes: a frozen dataclass that knows its task."""

    def build(self) -> TrainingTask:
        """The task with its data, which are prepared where missing."""

    def rehearsal(self, folder: Path) -> TaskConfig:
        """The same networks and losses on few procedural data in ``folder``, with nothing that must be there before."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, whole.

    Attributes:
        task: What is trained, and on which data.
        run: How long, how large, how often.
        optimizer: The rule.
        schedule: The learning rate.
    """

    task: Any
    run: RunConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    @property
    def task_name(self) -> str:
        """As a recipe's ``task.name`` has it."""
        return next(name for name, kind in TASKS.items() if kind is type(self.task))


def load_recipes(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The trainings of a recipe, in order: one, or its stages, each with the overrides.

    Raises:
        ConfigError: If a field is unknown, missing or mistyped; it is named.
        OSError: If a file cannot be read.
    """
    path, tables = Path(path), read_toml(path)
    if "stages" in tables:
        stages = tables.pop("stages")
        if tables or not (
            isinstance(stages, list) and stages and all(isinstance(s, str) and s.strip() for s in stages)
        ):
            raise ConfigError(f"{path}: `stages` must list recipes, and stand alone.")
        named = [shlex.split(stage) for stage in stages]
        return [recipe for name, *own in named for recipe in load_recipes(path.parent / name, [*own, *overrides])]
    return [_parse(read_toml(path, overrides), str(path))]


def run_recipe(recipe: Recipe) -> nn.Module:
    """Train to the end, from wherever the run's folder is; see ``cospeech.training.train``.

    Raises:
        ConfigError: If the folder holds a run of another recipe.
    """
    accelerator = make_accelerator(recipe.run)
    if accelerator.is_main_process:
        _keep_recipe(recipe)
    torch.manual_seed(recipe.run.seed)  # initial weights, the same in all processes
    return train(recipe.task.build(), recipe.run, recipe.optimizer, recipe.schedule, accelerator=accelerator)


def prepare_data(recipes: Sequence[Recipe]) -> Iterator[str]:
    """Make what is missing of the recipes' data, each folder once; a line for each, and for each take left out."""
    for data in dict.fromkeys(getattr(recipe.task, "data", recipe.task) for recipe in recipes):
        for folder, report in data.prepare().items():
            yield f"{folder}: {report.windows} windows of {report.takes} takes, {report.made} files made now"
            yield from (f"  left out: {name}: {reason}" for name, reason in report.left_out.items())


def _parse(tables: dict[str, Any], source: str) -> Recipe:
    unknown = tables.keys() - {"task", "run", "optimizer", "schedule"}
    if unknown:
        raise ConfigError(
            f"{source}: unknown table {sorted(unknown)[0]!r}; choose from run, optimizer, schedule, task."
        )
    for needed in ("task", "run"):
        if not isinstance(tables.get(needed), dict):
            raise ConfigError(f"{source} needs a table [{needed}].")
    name = tables["task"].pop("name", None)
    if name not in TASKS:
        raise ConfigError(f"{source}: unknown task.name {name!r}; choose from {', '.join(TASKS)}.")
    return Recipe(
        task=parse_fields(TASKS[name], tables["task"], source="task"),
        run=parse_fields(RunConfig, tables["run"], source="run"),
        optimizer=parse_fields(OptimizerConfig, tables.get("optimizer", {}), source="optimizer"),
        schedule=parse_fields(ScheduleConfig, tables.get("schedule", {}), source="schedule"),
    )


def _keep_recipe(recipe: Recipe) -> None:
    """Write the recipe into the run's folder; refuse a folder that holds checkpoints of another."""
    folder = Path(recipe.run.folder)
    path = folder / "recipe.json"
    fields = {"task_name": recipe.task_name, **config_to_dict(recipe)}
    if path.exists() and (folder / "checkpoints").is_dir():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name in _differing(before, fields) if name.removeprefix("run.") not in _MAY_CHANGE]
        if changed:
            raise ConfigError(
                f"{folder} holds a training with another {', '.join(changed)}; choose another run.folder, or remove it."
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _differing(one: Any, other: Any, name: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [found for key in keys for found in _differing(one.get(key), other.get(key), f"{name}.{key}".strip("."))]
    return [] if one == other else [name]
