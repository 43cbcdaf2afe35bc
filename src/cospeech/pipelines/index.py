"""``model_index.json``: what makes a folder of networks a pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cospeech.errors import CheckpointError
from cospeech.hub import Terms, config_from_dict, read_json
from cospeech.hub._files import file_inside
from cospeech.io import atomic_path

__all__ = ["INDEX_FILE", "read_index", "read_terms", "write_index", "write_terms"]

INDEX_FILE = "model_index.json"
_VERSION = 1
_TERMS = "terms"


def write_index(folder: Path, pipeline: type, settings: Mapping[str, Any]) -> None:
    """Write a folder's index, naming the pipeline and its settings; licences that it holds already stay."""
    index = {"format_version": _VERSION, "pipeline": pipeline.__name__, "settings": settings}
    terms = read_terms(folder) if (folder / INDEX_FILE).is_file() else None
    _write(folder, index if terms is None else {**index, _TERMS: asdict(terms)})


def write_terms(folder: Path, terms: Terms) -> None:
    """Enter licences into the index of a pipeline's folder.

    Raises:
        CheckpointError: If there is no index, or it cannot be read.
    """
    _write(folder, {**read_json(file_inside(folder, INDEX_FILE)), _TERMS: asdict(terms)})


def read_terms(folder: Path) -> Terms | None:
    """The licences that a folder's index states; None where it states none, or there is no index.

    Raises:
        CheckpointError: If the index is damaged.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        return None
    fields = read_json(file_inside(folder, INDEX_FILE)).get(_TERMS)
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path} must hold an object as {_TERMS}.")
    return config_from_dict(Terms, fields, source=str(path))


def read_index(folder: Path, pipeline: type) -> dict[str, Any]:
    """The settings in a folder's index.

    Raises:
        CheckpointError: If there is none, or it is for another pipeline or a newer cospeech.
    """
    path = file_inside(folder, INDEX_FILE)
    index = read_json(path)
    index.pop(_TERMS, None)
    if index.keys() != {"format_version", "pipeline", "settings"} or not isinstance(index["settings"], dict):
        raise CheckpointError(f"{path} must hold format_version, pipeline and settings; got {', '.join(index)}.")
    if index["format_version"] != _VERSION:
        raise CheckpointError(f"{path} has format version {index['format_version']!r}; this cospeech reads {_VERSION}.")
    if index["pipeline"] != pipeline.__name__:
        raise CheckpointError(f"{folder} holds a {index['pipeline']}, not a {pipeline.__name__}.")
    settings: dict[str, Any] = index["settings"]
    return settings


def _write(folder: Path, index: Mapping[str, Any]) -> None:
    with atomic_path(folder / INDEX_FILE) as path:
        path.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
