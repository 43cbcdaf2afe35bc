"""Where the files of a model may lie, and how their numbers are read: bounds first, memory afterwards."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.errors import CheckpointError

__all__ = ["MAX_RANK", "TensorFile", "file_inside"]

MAX_RANK = 16


def file_inside(folder: str | os.PathLike[str], name: str) -> Path:
    """The path of a file in a model's folder, which must really lie there.

    A folder from a stranger may hold links to anywhere. Only huggingface_hub's own links, from a snapshot to the blobs
    beside it, lead outside.

    Args:
        folder: The model's.
        name: Of the file, relative to it. The file need not exist.

    Raises:
        CheckpointError: If the file lies, or is linked to, elsewhere.
    """
    path = Path(folder) / name
    root, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    if not real.is_relative_to(root) and not _is_blob(path):
        raise CheckpointError(f"{path} leads out of its folder, to {real}; put the file itself there.")
    return path


class TensorFile:
    """A file of tensors, opened for reading; use it as a context.

    The blobs of huggingface_hub's cache are named after their content and never change, so they are mapped: loading
    takes no time, and what several processes use is in memory once. Any other file is read into memory of our own, for
    it may be replaced while the weights are in use.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed on leaving the context)
        self.size = os.fstat(self._file.fileno()).st_size
        self._map = None
        if self.size and _is_blob(Path(path)):
            # A private copy of each page that is written to, as training would.
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def tensor(self, *, offset: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of the file.

        Args:
            offset: Of its first byte.
            shape: Its shape.
            dtype: Its type, stored in the byte order of this machine.

        Raises:
            CheckpointError: If the file does not hold so many bytes; nothing is allocated then.
        """
        num_bytes = prod(shape) * dtype.itemsize
        if len(shape) > MAX_RANK or min(shape, default=0) < 0 or not 0 <= offset <= offset + num_bytes <= self.size:
            raise CheckpointError(
                f"{self._path} cannot be read: a tensor of shape {tuple(shape)} at {offset} would need {num_bytes} "
                f"bytes; the file has {self.size}."
            )
        if self._map is not None and num_bytes and offset % dtype.itemsize == 0:
            return torch.frombuffer(self._map, dtype=dtype, count=prod(shape), offset=offset).view(tuple(shape))
        tensor = torch.empty(tuple(shape), dtype=dtype)
        if num_bytes:
            numbers: Any = tensor.view(-1).view(torch.uint8).numpy()  # as bytes, since NumPy has no bfloat16
            self._fill(memoryview(numbers), offset)
        return tensor

    def _fill(self, target: memoryview, offset: int) -> None:
        self._file.seek(offset)
        done = 0
        while done < len(target):
            count = self._file.readinto(target[done:])
            if not count:
                raise CheckpointError(f"{self._path} cannot be read: it ended meanwhile.")
            done += count


def _is_blob(path: Path) -> bool:
    """Whether a file of a snapshot is linked to the blobs of its repository, or to those that repositories share."""
    folder, real = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    for snapshot in (folder, *folder.parents):
        repository = snapshot.parent.parent
        if snapshot.parent.name == "snapshots" and repository.name.startswith(("models--", "datasets--")):
            return any(real.is_relative_to(place / "blobs") for place in (repository, repository.parent))
    return False
