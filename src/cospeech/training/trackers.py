"""Accelerate's trackers: they get the recipe as hyper-parameters, and each step once, however often it is done.

A tracker's run lasts as long as the training, through kills: ``trackers.json`` in the run's folder has its name, and
how far it was told. A resumed training does some steps again, with the same numbers: TensorBoard forgets them first,
and the others are not told again. What a SIGKILL keeps those from writing down stays missing there; ``metrics.jsonl``
has it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cospeech.errors import MissingExtraError
from cospeech.io import atomic_path
from cospeech.training.config import ConfigError

__all__ = ["Trackers", "check_trackers"]


def check_trackers(names: Sequence[str]) -> None:
    """Nothing, where each of the trackers is there; Accelerate leaves out in silence what is not installed.

    Raises:
        ConfigError: If Accelerate does not know one.
        MissingExtraError: If one is not installed; it says what to do.
    """
    tracking: Any = import_module("accelerate.tracking")
    ours = set(import_module("accelerate.utils").LoggerType.list())  # others are classes that a program registered
    there = {str(tracker) for tracker in tracking.get_available_trackers()} | {"all"}
    known = {*ours, *tracking.LOGGER_TYPE_TO_CLASS}
    for name in names:
        if name not in known:
            raise ConfigError(f"Unknown tracker {name!r} in run.trackers; choose from {', '.join(sorted(known))}.")
        if name in ours - there:
            raise MissingExtraError(f"Tracker {name!r} is not installed: pip install {name}.")


class Trackers:
    """The trackers of a run; none in processes other than the main one.

    Args:
        accelerator: Which knows what trackers are wanted.
        folder: Of the run.
        first_step: How many steps are done; after 0 the trackers begin a run of their own.
        last_step: How far the run came before it was cut off.
        settings: Tables of hyper-parameters; where the folder has a ``recipe.json``, that is taken.
    """

    def __init__(self, accelerator: Any, folder: Path, *, first_step: int, last_step: int, settings: Mapping[str, Any]):
        self.accelerator, self.first_step, self.told = accelerator, first_step, 0
        if not accelerator.log_with or not accelerator.is_main_process:
            return
        path = folder / "trackers.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() and first_step else {}
        name = before.get("name") or f"{folder.resolve().name}-{secrets.token_hex(4)}"
        if first_step:
            self.told = max(before.get("told", 0), last_step)
        with atomic_path(path) as unfinished:
            unfinished.write_text(json.dumps({"name": name, "told": self.told}) + "\n", encoding="utf-8")
        recipe = folder / "recipe.json"
        if recipe.exists():
            settings = json.loads(recipe.read_text(encoding="utf-8"))
        options = {
            "tensorboard": {"purge_step": first_step + 1},  # what it was told of later steps is forgotten
            "trackio": {"name": name, "resume": "allow"},
            "wandb": {"id": name, "name": name, "resume": "allow", "dir": str(folder)},
        }
        accelerator.init_trackers("cospeech", config=None if before else _flat(settings), init_kwargs=options)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell those trackers that do not know it yet."""
        for tracker in self.accelerator.trackers:
            if step > (self.first_step if tracker.name == "tensorboard" else self.told):
                tracker.log(dict(values), step=step)

    def finish(self) -> None:
        """Let them write what they hold."""
        for tracker in self.accelerator.trackers:
            tracker.finish()  # not accelerator.end_training(): it ends the group of processes, and stages follow


def _flat(settings: Any, name: str = "") -> dict[str, bool | int | float | str]:
    """Dotted names and plain values, which is all that each tracker takes.

    >>> _flat({"run": {"steps": 3, "trackers": ["wandb"], "folder": None}})
    {'run.steps': 3, 'run.trackers': '["wandb"]', 'run.folder': 'null'}
    """
    if isinstance(settings, Mapping) and settings:
        return {k: v for key, part in settings.items() for k, v in _flat(part, f"{name}.{key}".strip(".")).items()}
    return {name: settings if isinstance(settings, (bool, int, float, str)) else json.dumps(settings)}
