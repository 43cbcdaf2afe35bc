"""What a training tells: lines of metrics, a bar, Accelerate's trackers, and the batch that broke it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from cospeech.errors import CospeechError
from cospeech.hub import save_tensors
from cospeech.io import atomic_path
from cospeech.training.trackers import Trackers

__all__ = ["Journal", "TrainingError", "fail_if_not_finite", "read_metrics", "tensors_in"]


class TrainingError(CospeechError):
    """A training cannot go on; the message says at which step and why."""


class Journal:
    """Means over the last steps, to ``metrics.jsonl``, to a bar on a terminal, and to Accelerate's trackers.

    Args:
        folder: Of the run.
        accelerator: Which has the trackers; only its main process writes.
        first_step: Lines of later steps, which a killed run left behind, are taken out.
        total_steps: Length of the bar.
        settings: Tables of hyper-parameters for trackers.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Any,
        *,
        first_step: int,
        total_steps: int,
        settings: Mapping[str, Any] | None = None,
    ):
        self.path, self.accelerator = folder / "metrics.jsonl", accelerator
        self._sums: dict[str, Tensor] = {}
        self._count, self._begin = 0, time.monotonic()
        self._bar: Any = None
        self._trackers: Trackers | None = None
        if accelerator.is_main_process:
            lines = read_metrics(folder)
            if first_step < total_steps:
                last_step = int(max((line["step"] for line in lines), default=0))
                done = {"first_step": first_step, "last_step": last_step}
                self._trackers = Trackers(accelerator, folder, settings=settings or {}, **done)
            kept = [line for line in lines if line["step"] <= first_step]
            with atomic_path(self.path) as unfinished:
                unfinished.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            tqdm: Any = import_module("huggingface_hub.utils").tqdm
            self._bar = tqdm(total=total_steps, initial=first_step, unit=" steps", disable=None)

    def count(self, losses: Mapping[str, Tensor], passes: int) -> None:
        """Take in the terms of one pass, of which ``passes`` make a step."""
        for name, value in losses.items():
            value = value.detach().float() / passes
            self._sums[name] = value if name not in self._sums else self._sums[name] + value

    def step(self, step: int, rate: float, *, tell: bool) -> None:
        """A step is done, ``step`` in all; where ``tell``, write the means since the last line."""
        self._count += 1
        if self._bar is not None:
            self._bar.update(1)
        if not tell:
            return
        seconds = (time.monotonic() - self._begin) / self._count
        means = {name: value / self._count for name, value in self._sums.items()}
        values = {f"loss/{name}": float(self.accelerator.reduce(value, "mean")) for name, value in means.items()}
        self.write(step, {**values, "learning_rate": rate, "seconds_per_step": seconds})
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {values['loss/total']:.4g}", refresh=False)
        self._sums, self._count, self._begin = {}, 0, time.monotonic()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, and the trackers."""
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        if self._trackers is not None:
            self._trackers.log(values, step)

    def close(self) -> None:
        """Give the terminal back, and let trackers finish."""
        if self._trackers is not None:
            self._trackers.finish()
        if self._bar is not None:
            self._bar.close()


def read_metrics(folder: Path | str) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl`` in a run's folder; one that a kill cut off is left out."""
    path, lines = Path(folder) / "metrics.jsonl", []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def fail_if_not_finite(losses: Mapping[str, Tensor], batch: Any, step: int, folder: Path, process: int) -> None:
    """Nothing, while the total is a number.

    Raises:
        TrainingError: If it is not: the batch is saved, and the terms at fault are named.
    """
    if bool(losses["total"].isfinite()):
        return
    path = folder / f"not-finite-step-{step:08d}-process-{process}.safetensors"
    save_tensors({name: tensor.clone() for name, tensor in tensors_in(batch)}, path)
    terms = ", ".join(
        f"{name} {float(value.detach()):g}" for name, value in losses.items() if not bool(value.isfinite())
    )
    raise TrainingError(f"The loss of step {step} is not finite ({terms}); the batch is in {path}.")


def tensors_in(value: Any, name: str = "batch") -> Iterator[tuple[str, Tensor]]:
    """The tensors inside of nested tuples, lists and dictionaries, with dotted names.

    Example:
        >>> import torch
        >>> [name for name, _ in tensors_in({"a": torch.ones(1), "b": [torch.ones(1), "text"]})]
        ['batch.a', 'batch.b.0']
    """
    if isinstance(value, Tensor):
        yield name, value
        return
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, (tuple, list)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, part in value.items():
            yield from tensors_in(part, f"{name}.{key}")
