"""Saving and loading models: a folder with ``config.json`` and ``model.safetensors``.

Loading is strict: every key, shape and type is compared before a weight is read, and what is wrong is listed. It
executes nothing from the file, leaves the global random state alone, and copies the weights, so that the file may be
replaced while they are in use.

A model that is saved here takes one argument, ``config``, annotated with its dataclass, and keeps it as ``config``.
It is built on the meta device first, so buffers outside its state dict must be made with ``device="cpu"`` by name.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import is_dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub.config import config_from_dict, config_to_dict, read_json
from cospeech.io import atomic_path

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "load_model", "load_published", "load_tensors", "save_model", "save_tensors"]

ModelT = TypeVar("ModelT", bound=nn.Module)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

_WRAPPERS = (
    "model_state",
    "state_dict",
    "net",
    "trans",
    "model",
    "encoder",
)  # under which published programs put their state dicts
_MAX_ZIPPED_BYTES = 4 << 30


def save_model(model: nn.Module, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write a model's configuration and weights; what stood there before is replaced only when all is written.

    Args:
        model: A model with a ``config``.
        folder: Where to; made if missing.
        dtype: To store floating-point weights in, for example ``torch.float16`` for half the size; by default their
            own.

    Raises:
        TypeError: If ``model.config`` is no dataclass, or not the one that the model's constructor names.
        CheckpointError: If the folder cannot be written.
    """
    config: Any = getattr(model, "config", None)
    config_class = _config_class(type(model))
    if type(config) is not config_class:
        raise TypeError(f"`model.config` must be a {config_class.__name__}; got {type(config).__name__}.")
    state = {
        key: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for key, tensor in model.state_dict().items()
    }
    description = {"model": type(model).__name__, "config": config_to_dict(config)}
    folder = Path(folder)
    _make_folder(folder)
    with _replacing(folder / WEIGHTS_FILE) as weights, _replacing(folder / CONFIG_FILE) as text:
        _write_tensors(state, weights)
        text.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_model(model_class: type[ModelT], folder: str | os.PathLike[str]) -> ModelT:
    """The model saved in ``folder``, in evaluation mode; weights stored in half precision come back in full.

    Raises:
        CheckpointError: If a file is missing, damaged, or for another model; every key at fault is listed.
    """
    folder = Path(folder)
    description = read_json(folder / CONFIG_FILE)
    if description.keys() != {"model", "config"} or not isinstance(description["config"], dict):
        raise CheckpointError(f"{folder / CONFIG_FILE} must hold `model` and `config`; got {', '.join(description)}.")
    if description["model"] != model_class.__name__:
        raise CheckpointError(f"{folder} holds a {description['model']}, not a {model_class.__name__}.")
    config = config_from_dict(_config_class(model_class), description["config"], source=str(folder / CONFIG_FILE))
    with torch.device("meta"):
        model = model_class(config)
    model.load_state_dict(load_tensors(folder / WEIGHTS_FILE, like=model.state_dict()), assign=True)
    assert not any(buffer.is_meta for buffer in model.buffers()), "make buffers outside the state dict on the CPU"
    return model.eval()


def save_tensors(tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write named tensors as safetensors; the file appears whole or not at all.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    path = Path(path)
    _make_folder(path.parent)
    with _replacing(path) as unfinished:
        _write_tensors({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, unfinished)


def load_tensors(path: str | os.PathLike[str], *, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Args:
        path: The file.
        like: Which keys, shapes and dtypes must come out (values are not looked at, so meta tensors do). Floating
            point may be stored in another precision. By default everything comes out as it is stored.

    Raises:
        CheckpointError: If the file is missing or damaged, or keys or shapes differ from ``like``.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if like is not None:
                shapes = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
                _compare(path, shapes, {key: tuple(tensor.shape) for key, tensor in like.items()})
            # Cloned, since the file's own memory is unaligned and would follow a later change of the file.
            tensors = {key: file.get_tensor(key).clone() for key in keys}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if like is None:
        return tensors
    wrong = [key for key in like if tensors[key].is_floating_point() != like[key].is_floating_point()]
    if wrong:
        raise CheckpointError(f"{path} does not fit: other kind of number in {', '.join(wrong)}.")
    return {key: tensors.pop(key).to(like[key].dtype) for key in like}


def load_published(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a published checkpoint, with its published keys.

    Reads safetensors, what ``torch.save`` wrote (without executing anything in it), and a zip archive that holds one
    such file. A state dict that lies under ``model_state``, ``state_dict``, ``net``, ``model`` or ``encoder`` is taken
    out, whatever lies beside it, and a ``module.`` before every key is removed.

    Raises:
        CheckpointError: If the file cannot be read or holds no state dict.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _without_prefix(load_tensors(path))
    try:
        with _numpy_numbers_allowed():
            content = torch.load(_unzipped(path), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as plain weights: {reason}") from error
    return _without_prefix(_state_in(content, path))


def _numpy_numbers_allowed() -> AbstractContextManager[Any]:
    """Lets a file hold NumPy numbers, as scores beside weights often are; making one executes nothing."""
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) < (2, 6):
        return nullcontext()  # there, a type cannot be allowed under the name that an older NumPy gave it
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    names = [(scalar, f"numpy.{package}.multiarray.scalar") for package in ("_core", "core")]
    return torch.serialization.safe_globals([*names, np.dtype, *kinds])


def _unzipped(path: Path) -> Path | io.BytesIO:
    """The file itself, or the one checkpoint inside a plain zip archive (``torch.save`` also writes zip files)."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.filename.endswith("data.pkl") for member in members):
            return path
        if len(members) != 1 or members[0].file_size > _MAX_ZIPPED_BYTES:
            raise CheckpointError(f"{path} must hold one checkpoint of at most 4 GB; got {len(members)} files.")
        return io.BytesIO(archive.read(members[0]))


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
            return dict(content)
        for name in _WRAPPERS:
            if isinstance(content.get(name), Mapping):
                return _state_in(content[name], path)
    raise CheckpointError(f"{path} holds no state dict, neither bare nor under {', '.join(_WRAPPERS)}.")


def _without_prefix(state: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    if not all(key.startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def _compare(path: Path, given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"missing {key}" for key in wanted if key not in given]
    problems += [f"unexpected {key}" for key in given if key not in wanted]
    problems += [
        f"misshapen {key}: {given[key]} instead of {shape}"
        for key, shape in wanted.items()
        if given.get(key, shape) != shape
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit: {'; '.join(problems)}.")


def _config_class(model_class: type[nn.Module]) -> type[Any]:
    config_class = get_type_hints(model_class.__init__).get("config")
    if not (isinstance(config_class, type) and is_dataclass(config_class)):
        raise TypeError(f"The constructor of {model_class.__name__} must take a dataclass as `config`.")
    return config_class


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror or error}.") from error


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be written: {error}.") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """``atomic_path``, whose errors are ours."""
    try:
        with atomic_path(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error
