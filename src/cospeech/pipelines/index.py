"""``model_index.json``: what makes a folder of networks a pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cospeech.errors import CheckpointError
from cospeech.hub import read_json
from cospeech.io import atomic_path

__all__ = ["INDEX_FILE", "read_index", "write_index"]

INDEX_FILE = "model_index.json"
_VERSION = 1


def write_index(folder: Path, pipeline: type, settings: Mapping[str, Any]) -> None:
    """Write a folder's index, naming the pipeline and its settings."""
    index = {"format_version": _VERSION, "pipeline": pipeline.__name__, "settings": settings}
    with atomic_path(folder / INDEX_FILE) as path:
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def read_index(folder: Path, pipeline: type) -> dict[str, Any]:
    """The settings in a folder's index.

    Raises:
        CheckpointError: If there is none, or it is for another pipeline or a newer cospeech.
    """
    path = folder / INDEX_FILE
    index = read_json(path)
    if index.keys() != {"format_version", "pipeline", "settings"} or not isinstance(index["settings"], dict):
        raise CheckpointError(f"{path} must hold format_version, pipeline and settings; got {', '.join(index)}.")
    if index["format_version"] != _VERSION:
        raise CheckpointError(f"{path} has format version {index['format_version']!r}; this cospeech reads {_VERSION}.")
    if index["pipeline"] != pipeline.__name__:
        raise CheckpointError(f"{folder} holds a {index['pipeline']}, not a {pipeline.__name__}.")
    settings: dict[str, Any] = index["settings"]
    return settings
