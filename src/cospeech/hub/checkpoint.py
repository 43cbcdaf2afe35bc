"""Saving and loading models: a folder with ``config.json`` and ``model.safetensors``.

Loading is strict: every key, shape and type is compared before a weight is read, and what is wrong is listed. It
executes nothing from the file, leaves the global random state alone, and takes memory for one copy of the weights,
which does not change when the file does.

A model that is saved here takes one argument, ``config``, annotated with its dataclass, and keeps it as ``config``.
It is built on the meta device first, so buffers outside its state dict must be made with ``device="cpu"`` by name.
"""

from __future__ import annotations

import json
import os
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from torch import nn

from cospeech.errors import CheckpointError
from cospeech.hub._empty import make_empty
from cospeech.hub._files import file_inside
from cospeech.hub._writing import make_folder, replacing
from cospeech.hub.config import config_from_dict, config_to_dict, read_json
from cospeech.hub.download import resolve
from cospeech.hub.tensors import load_tensors, save_tensors
from cospeech.nn.optimization import is_optimized

__all__ = ["CONFIG_FILE", "MAX_SHARD_BYTES", "WEIGHTS_FILE", "load_model", "save_model"]

ModelT = TypeVar("ModelT", bound=nn.Module)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MAX_SHARD_BYTES = 5_000_000_000
"""Above which weights are written in several files, as the ecosystem does."""

_VERSION = 1


def save_model(
    model: nn.Module,
    folder: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model's configuration and weights; what stood there before is replaced only when all is written.

    Args:
        model: A model with a ``config``.
        folder: Where to; made if missing.
        dtype: To store floating-point weights in, for example ``torch.float16`` for half the size; by default their
            own.
        max_shard_bytes: Above which the weights are shared out over several files.

    Raises:
        TypeError: If ``model.config`` is no dataclass, or not the one that the model's constructor names; or if the
            model is an optimized one, whose weights are no longer in the form in which a model reads them.
        CheckpointError: If the folder cannot be written.
    """
    if is_optimized(model):
        raise TypeError("An optimized model cannot be saved; save the one that it was made from.")
    config: Any = getattr(model, "config", None)
    config_class = _config_class(type(model))
    if type(config) is not config_class:
        raise TypeError(f"`model.config` must be a {config_class.__name__}; got {type(config).__name__}.")
    state = {
        key: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None)
        for key, tensor in model.state_dict().items()
    }
    description = {"format_version": _VERSION, "model": type(model).__name__, "config": config_to_dict(config)}
    folder = Path(folder)
    make_folder(folder)
    with replacing(folder / CONFIG_FILE) as text:
        text.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        save_tensors(state, folder / WEIGHTS_FILE, max_shard_bytes=max_shard_bytes)


def load_model(model_class: type[ModelT], folder: str | os.PathLike[str], *, revision: str | None = None) -> ModelT:
    """The model saved in ``folder``, in evaluation mode; weights stored in half precision come back in full.

    Args:
        model_class: The class that was saved.
        folder: A folder, or a repository ``"owner/name"`` on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
        CheckpointError: If a file is missing, damaged, or for another model; every key at fault is listed.
    """
    path = Path(folder)
    if isinstance(folder, str) and not path.exists():
        path = resolve(folder, revision=revision)
    source = file_inside(path, CONFIG_FILE)
    description = read_json(source)
    version = description.pop("format_version", _VERSION)
    if description.keys() != {"model", "config"} or not isinstance(description["config"], dict):
        raise CheckpointError(f"{source} must hold `model` and `config`; got {', '.join(description)}.")
    if version != _VERSION:
        raise CheckpointError(f"{source} has format version {version!r}; this cospeech reads {_VERSION}.")
    if description["model"] != model_class.__name__:
        raise CheckpointError(f"{path} holds a {description['model']}, not a {model_class.__name__}.")
    config = config_from_dict(_config_class(model_class), description["config"], source=str(source))
    model = make_empty(lambda: model_class(config))
    model.load_state_dict(load_tensors(path / WEIGHTS_FILE, like=model.state_dict()), assign=True)
    assert not any(buffer.is_meta for buffer in model.buffers()), "make buffers outside the state dict on the CPU"
    return model.eval()


def _config_class(model_class: type[nn.Module]) -> type[Any]:
    config_class = get_type_hints(model_class.__init__).get("config")
    if not (isinstance(config_class, type) and is_dataclass(config_class)):
        raise TypeError(f"The constructor of {model_class.__name__} must take a dataclass as `config`.")
    return config_class
