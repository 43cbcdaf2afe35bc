"""Where the files of a model may lie, and how their numbers are read: bounds first, memory afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from cospeech.errors import CheckpointError

__all__ = ["MAX_RANK", "file_inside", "read_tensor"]

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
    allowed = [root]
    for ancestor in (root, *root.parents):
        if ancestor.parent.name == "snapshots" and ancestor.parent.parent.name.startswith(("models--", "datasets--")):
            allowed.append(ancestor.parent.parent / "blobs")
    if not any(real.is_relative_to(place) for place in allowed):
        raise CheckpointError(f"{path} leads out of its folder, to {real}; put the file itself there.")
    return path


def read_tensor(file: BinaryIO, *, offset: int, shape: Sequence[int], dtype: torch.dtype, size: int) -> Tensor:
    """A tensor from the bytes of a file, in memory of its own: it does not change when the file does.

    Args:
        file: Opened without a buffer.
        offset: Of its first byte.
        shape: Its shape.
        dtype: Its type, stored in the byte order of this machine.
        size: Bytes in the file.

    Raises:
        CheckpointError: If the file does not hold so many bytes; nothing is allocated then.
    """
    num_bytes = prod(shape) * dtype.itemsize
    if len(shape) > MAX_RANK or min(shape, default=0) < 0 or not 0 <= offset <= offset + num_bytes <= size:
        raise CheckpointError(f"a tensor of shape {tuple(shape)} would need {num_bytes} bytes; the file has {size}")
    tensor = torch.empty(tuple(shape), dtype=dtype)
    if num_bytes:
        # As bytes, since NumPy has no bfloat16.
        target = memoryview(tensor.view(-1).view(torch.uint8).numpy())
        file.seek(offset)
        done = 0
        while done < num_bytes:
            count = file.readinto(target[done:])  # type: ignore[attr-defined]
            if not count:
                raise CheckpointError("the file ended while it was read")
            done += count
    return tensor
