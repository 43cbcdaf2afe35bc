"""Numbers in ``.npy`` files, as published statistics are: nothing is unpickled, and size comes before memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cospeech.errors import CheckpointError

__all__ = ["load_array"]


def load_array(path: str | os.PathLike[str]) -> Tensor:
    """The array in a ``.npy`` file.

    Raises:
        CheckpointError: If the file cannot be read, holds pickled objects, or declares another size than it has.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, fortran_order, dtype = _read_header(file)
            num_bytes, present = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
            if dtype.kind not in "iuf":
                raise ValueError(f"it holds {'pickled objects, which may run code' if dtype.hasobject else dtype}")
            if num_bytes != present:
                raise ValueError(f"its shape {shape} takes {num_bytes} bytes, and it has {present}")
            array = np.frombuffer(bytearray(file.read()), dtype).reshape(shape, order="F" if fortran_order else "C")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype.newbyteorder("=")))
    except Exception as error:  # broken bytes surface as many types from NumPy and ast
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as numbers: {reason}.") from error


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"it is of version {version} of the format")
