"""A training as one typed value: read from TOML, changed on the command line, refused where a field does not fit.

A file has the tables ``run``, ``optimizer``, ``schedule``, ``data`` and ``task``; ``task.name`` and
``data.source.name`` say which dataclass the rest of their table fills. Nothing is guessed: an unknown or mistyped field
is an error that names it.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from cospeech._extras import require
from cospeech.errors import CheckpointError
from cospeech.hub.config import config_from_dict

__all__ = ["ConfigError", "OptimizerConfig", "RunConfig", "ScheduleConfig", "parse_fields", "read_toml"]

ConfigT = TypeVar("ConfigT")


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the field."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which rule moves the weights.

    Attributes:
        name: Of the rule.
        learning_rate: At the schedule's height.
        betas: Decay of both moments.
        weight_decay: Per step, in the rule's own sense.
        clip_norm: Gradients are scaled to this norm at most; 0 for no limit.
        clip_value: Each number of the gradients is cut to plus and minus this; 0 for no limit.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    clip_value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes over the steps.

    Attributes:
        name: Of the shape behind the rise; ``milestones`` falls in jumps.
        warmup_steps: Over which the rate rises in a straight line.
        warmup_start: Share of the rate that the rise begins at.
        floor: Share of the rate that the cosine ends at.
        milestones: Steps at which the rate is multiplied by ``factor``.
        factor: Of one milestone.
    """

    name: Literal["constant", "cosine", "milestones"] = "constant"
    warmup_steps: int = 0
    warmup_start: float = 0.0
    floor: float = 0.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how large, how often.

    Attributes:
        folder: Where checkpoints, metrics, samples and the finished model go.
        steps: Of the optimizer, in all.
        batch_size: Of one process and one pass; the whole is ``batch_size * accumulate * processes``.
        accumulate: Passes whose gradients are averaged for one step.
        seed: Of everything that is drawn.
        precision: Of the networks; losses are computed in single precision whatever this is.
        ema_decay: Of the moving average of the weights; 0 for none. Early steps are averaged over fewer.
        compile: Whether networks go through ``torch.compile``.
        checkpoint_layers: Whether repeated layers are computed again in the backward pass, to save memory.
        shard: Whether weights, gradients and moments are spread over the processes, for networks that one cannot hold.
        workers: Processes that make batches ahead; 0 makes them in the training process.
        checkpoint_every: Steps from one checkpoint to the next.
        keep_checkpoints: How many of the newest stay on disk.
        validate_every: Steps from one validation to the next; 0 for none.
        validation_batches: Of each process at most; 0 for all that is held out.
        sample_clips: Motion clips written as HTML at each validation.
        log_every: Steps from one line of metrics to the next.
        trackers: Of Accelerate, such as "tensorboard", "wandb", "trackio"; ``metrics.jsonl`` is always written.
    """

    folder: str
    steps: int
    batch_size: int
    accumulate: int = 1
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema_decay: float = 0.0
    compile: bool = False
    checkpoint_layers: bool = False
    shard: bool = False
    workers: int = 0
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    validate_every: int = 0
    validation_batches: int = 0
    sample_clips: int = 0
    log_every: int = 10
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must lie in [0, 1); got {self.ema_decay}.")


def read_toml(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file, with dotted overrides put in.

    Args:
        path: The file.
        overrides: Such as ``"run.steps=100"`` or ``"task.model.hidden_dim=64"``; a value is TOML, or else text.

    Raises:
        ConfigError: If the file is no TOML, or an override has no form.
        OSError: If the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    toml = _toml()
    try:
        tables: dict[str, Any] = toml.loads(text)
    except ValueError as error:
        raise ConfigError(f"{os.fspath(path)} is not valid TOML: {error}.") from error
    for override in overrides:
        dotted, equals, value = override.partition("=")
        if not equals or not all(dotted.split(".")):
            raise ConfigError(f"An override must read name=value, such as run.steps=100; got {override!r}.")
        *parents, name = dotted.strip().split(".")
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{dotted!r} goes through {parent!r}, which is no table.")
        table[name] = _toml_value(toml, value.strip())
    return tables


def parse_fields(config_class: type[ConfigT], fields: Mapping[str, Any], *, source: str) -> ConfigT:
    """A dataclass from a table; see ``cospeech.hub.config``.

    Raises:
        ConfigError: If a field is unknown (the nearest known one is named), missing or mistyped.
    """
    _refuse_unknown(config_class, fields, source)
    try:
        return config_from_dict(config_class, fields, source=source)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def _refuse_unknown(config_class: type[Any], fields: Mapping[str, Any], source: str) -> None:
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{source} must be a table; got {fields!r}.")
    hints = get_type_hints(config_class)
    known = {item.name: item for item in dataclasses.fields(config_class) if item.init}
    for name, value in fields.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
            raise ConfigError(f"Unknown field {source}.{name}; {hint}")
        table = next((kind for kind in (hints[name], *get_args(hints[name])) if dataclasses.is_dataclass(kind)), None)
        if table is not None and value is not None:
            _refuse_unknown(table, value, f"{source}.{name}")  # type: ignore[arg-type]
    for name, item in known.items():
        if name not in fields and item.default is item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{source} needs {name!r}.")


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    return require("tomli", extra="train", purpose="Reading TOML on Python 3.10")


def _toml_value(toml: Any, text: str) -> Any:
    try:
        return toml.loads(f"value = {text}")["value"]
    except ValueError:
        return text
