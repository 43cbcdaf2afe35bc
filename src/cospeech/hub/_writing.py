"""Folders and files written whole or not at all, with errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cospeech.errors import CheckpointError
from cospeech.io import atomic_path

__all__ = ["make_folder", "replacing"]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        CheckpointError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror or error}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """``atomic_path``, whose errors are ours."""
    try:
        with atomic_path(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error
