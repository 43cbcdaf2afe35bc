"""Published repositories in the layout of the transformers library: a folder, or several, of configuration and weights.

Each folder holds ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``. The pickle is fetched only where
there is nothing better, and read without executing anything in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub._files import file_inside
from cospeech.hub.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from cospeech.hub.download import resolve
from cospeech.hub.tensors import save_tensors
from cospeech.io import atomic_path

__all__ = ["PICKLE_FILE", "naming_part", "published_weights", "resolve_published", "save_published"]

PICKLE_FILE = "pytorch_model.bin"


def resolve_published(
    name_or_path: str | os.PathLike[str], *, parts: Sequence[str] = ("",), revision: str | None = None
) -> Path:
    """The folder of a published model, fetched from the Hub where it is not here.

    Args:
        name_or_path: A folder, or ``"owner/name"`` on the Hub.
        parts: Folders inside it that must hold weights; ``""`` is the folder itself.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
    """
    folder = resolve(name_or_path, revision=revision)
    if not folder.joinpath("model_index.json").exists():
        missing = [part for part in parts if not (folder / part / WEIGHTS_FILE).is_file()]
        if missing:
            pickles = [f"{part}/{PICKLE_FILE}".lstrip("/") for part in missing]
            folder = resolve(name_or_path, revision=revision, patterns=[*pickles, "*.json", "*.safetensors"])
    return folder


def published_weights(folder: Path, part: str = "") -> Path:
    """The file with the weights of a part, for ``load_published``.

    Raises:
        CheckpointError: If there is none.
    """
    for name in (WEIGHTS_FILE, PICKLE_FILE):
        if (folder / part / name).is_file():
            return file_inside(folder, str(Path(part) / name))
    raise CheckpointError(f"{folder / part} holds neither {WEIGHTS_FILE} nor {PICKLE_FILE}.")


def save_published(
    state: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, *, safetensors: bool = False
) -> None:
    """Write weights and configuration as the transformers library does.

    Args:
        state: Published keys and tensors.
        config: The fields of ``config.json``.
        folder: Where to; made if missing.
        safetensors: Whether to write ``model.safetensors`` instead of ``pytorch_model.bin``.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if safetensors:
            save_tensors(tensors, folder / WEIGHTS_FILE)
        else:
            with atomic_path(folder / PICKLE_FILE) as path:
                torch.save(tensors, path)
        with atomic_path(folder / CONFIG_FILE) as path:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}.") from error


@contextmanager
def naming_part(path: Path) -> Iterator[None]:
    """Name the file in what is wrong with its content."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
