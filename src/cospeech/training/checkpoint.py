"""Checkpoints that are whole or not there, and hold all that a training needs to go on exactly where it was.

``step-00001000/`` holds model, moving average and optimizer as safetensors, the random state of every process, and
``manifest.json`` with the SHA-256 of each file. It is written under another name and renamed when all processes are
done, so a kill at any moment leaves the one before. Nothing in it is a pickle; a damaged one is named and passed over.
All processes must see one folder.

The position in the data and the schedule follow from the step: see ``cospeech.training.order``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub import load_tensors, save_tensors
from cospeech.hub.config import read_json
from cospeech.training.ema import WeightAverage
from cospeech.training.sharding import gathered

__all__ = ["Progress", "find_checkpoints", "load_checkpoint", "newest_checkpoint", "save_checkpoint"]

_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8})")


class Progress(NamedTuple):
    """All that changes in a training.

    Attributes:
        model: What is trained.
        optimizer: Over the trainable parameters of the model, in their order.
        average: Of the weights, if there is one.
        scaler: Of half-precision gradients, if there is one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None = None
    scaler: Any = None


def save_checkpoint(
    folder: str | os.PathLike[str],
    step: int,
    progress: Progress,
    *,
    process: int = 0,
    num_processes: int = 1,
    keep: int = 3,
) -> Path:
    """Write ``step-XXXXXXXX`` after ``step`` steps of the optimizer; called by all processes at once.

    Args:
        folder: Of all checkpoints; made if missing.
        step: Steps done.
        progress: What to write.
        process: Number of this process.
        num_processes: How many there are.
        keep: How many of the newest stay.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    target = Path(folder) / f"step-{step:08d}"
    unfinished = target.with_name(f".{target.name}.unfinished")
    if process == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    _wait()
    # All processes gather what is spread over them; the first keeps it.
    weights = _whole(progress.model.state_dict(), keep=process == 0)
    moments, groups = _optimizer_state(progress)
    moments = _whole(moments, keep=process == 0)
    average = {} if progress.average is None else _whole(progress.average.weights, keep=process == 0)
    save_tensors(_random_state(), unfinished / f"random-{process}.safetensors")
    if process == 0:
        save_tensors({key: value.clone() for key, value in weights.items()}, unfinished / "model.safetensors")
        save_tensors(moments, unfinished / "optimizer.safetensors")
        save_tensors(average, unfinished / "average.safetensors")
        scaler = None if progress.scaler is None else progress.scaler.state_dict()
        state = {"step": step, "processes": num_processes, "optimizer_groups": groups, "scaler": scaler}
        (unfinished / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    _wait()
    if process == 0:
        digests = {path.name: _flushed_digest(path) for path in sorted(unfinished.iterdir())}
        with (unfinished / _MANIFEST).open("w", encoding="utf-8") as file:
            json.dump({"format": "cospeech-training-1", "sha256": digests}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        for old in find_checkpoints(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    _wait()
    return target


def find_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a folder, oldest first, whole or not."""
    folder = Path(folder)
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest checkpoint that is whole; broken ones on the way are named in a warning.

    Raises:
        CheckpointError: If there are checkpoints, and all are broken.
    """
    found = find_checkpoints(folder)
    for path in reversed(found):
        broken = _what_is_broken(path)
        if not broken:
            return path
        warnings.warn(f"{path} is passed over: {broken}.", stacklevel=2)
    if found:
        raise CheckpointError(f"All checkpoints in {os.fspath(folder)} are broken; remove them to begin anew.")
    return None


def load_checkpoint(
    path: str | os.PathLike[str], progress: Progress, *, process: int = 0, num_processes: int = 1
) -> int:
    """Put everything back, the random state of this process too; the number of steps done.

    Raises:
        CheckpointError: If a file is missing, or for another model.
    """
    path = Path(path)
    state = read_json(path / "state.json")
    current = progress.model.state_dict()
    shapes = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in current.items()}
    _put(current, load_tensors(path / "model.safetensors", like=shapes))
    _load_optimizer(progress, load_tensors(path / "optimizer.safetensors"), state["optimizer_groups"])
    if progress.average is not None:
        _put(progress.average.weights, load_tensors(path / "average.safetensors"))
    if progress.scaler is not None and state["scaler"]:
        progress.scaler.load_state_dict(state["scaler"])
    if state["processes"] == num_processes:
        _set_random_state(load_tensors(path / f"random-{process}.safetensors"))
    else:
        warnings.warn(
            f"{path} was written by {state['processes']} processes and is read by {num_processes}: what networks draw "
            "(dropout) begins anew, so the training goes on well but not exactly.",
            stacklevel=2,
        )
    return int(state["step"])


def _what_is_broken(path: Path) -> str:
    try:
        digests = read_json(path / _MANIFEST)["sha256"]
        wrong = [name for name, digest in digests.items() if _digest(path / name) != digest]
    except (CheckpointError, KeyError, OSError) as error:
        return str(error)
    return f"{', '.join(wrong)} changed since it was written" if wrong else ""


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flushed_digest(path: Path) -> str:
    """The digest of a file that has reached the disk, so that the rename cannot come before its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _digest(path)


def _parameter_names(progress: Progress) -> list[str]:
    names = {id(parameter): name for name, parameter in progress.model.named_parameters()}
    return [names[id(parameter)] for group in progress.optimizer.param_groups for parameter in group["params"]]


def _optimizer_state(progress: Progress) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Moments as ``parameter/moment``, settings as JSON."""
    state, names = progress.optimizer.state_dict(), _parameter_names(progress)
    moments = {
        f"{names[number]}/{key}": torch.as_tensor(value)
        for number, held in state["state"].items()
        for key, value in held.items()
    }
    groups = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    return moments, groups


def _load_optimizer(progress: Progress, moments: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    optimizer, names = progress.optimizer, _parameter_names(progress)
    numbers = {name: number for number, name in enumerate(names)}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, _, moment = key.rpartition("/")
        if name not in numbers:
            raise CheckpointError(f"The optimizer of the checkpoint holds {name!r}, which the model does not have.")
        like = parameters[numbers[name]]
        held.setdefault(numbers[name], {})[moment] = _placed(value, like) if value.shape == like.shape else value
    current = optimizer.state_dict()["param_groups"]
    restored = [
        {**now, **{key: tuple(value) if isinstance(value, list) else value for key, value in then.items()}}
        for now, then in zip(current, groups, strict=True)
    ]
    optimizer.load_state_dict({"state": held, "param_groups": restored})


def _whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """The tensors on the CPU, gathered where they are spread over processes; {} unless ``keep``."""
    found = {}
    for name, tensor in tensors.items():
        whole = gathered(tensor)
        if keep:
            found[name] = whole.cpu()
    return found


def _placed(value: Tensor, like: Any) -> Tensor:
    """The value where ``like`` is, spread as it is."""
    value = value.to(like.device)
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)


@torch.no_grad()
def _put(current: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    for name, tensor in current.items():
        if name not in saved:
            raise CheckpointError(f"The checkpoint has no weights for {name!r}.")
        tensor.copy_(_placed(saved[name], tensor))


def _random_state() -> dict[str, Tensor]:
    """The states of Python's, NumPy's and torch's own generators."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - others may draw from it
    assert version == 3
    assert kind == "MT19937"
    cached_python = [gauss is not None, gauss or 0.0]
    states = {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor(cached_python, dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_gauss": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_state(states: Mapping[str, Tensor]) -> None:
    has_gauss, gauss = states["python_gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), gauss if has_gauss else None))
    position, numpy_has_gauss, cached = states["numpy_gauss"].tolist()
    keys = states["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(numpy_has_gauss), cached))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _wait() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
