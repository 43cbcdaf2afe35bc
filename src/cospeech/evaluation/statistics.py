"""Training means and deviations as papers release them: one file of named arrays, or a folder of ``.npy``."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cospeech.errors import EvaluationError

__all__ = ["load_statistics", "named_statistics"]

# What the programs call them, and how they are called here.
_ALIASES = {"bvh": "euler", "json": "face"}


def load_statistics(source: str | os.PathLike[str] | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays by name, such as ``euler_mean`` and ``euler_std``, float64.

    Args:
        source: ``.safetensors`` or ``.npz`` of such arrays, a folder of ``euler_mean.npy`` and the like
            (``bvh_mean.npy``, ``json_std.npy``, ``Mean.npy`` as the programs have them), or the arrays themselves.

    Raises:
        EvaluationError: If there is nothing of the kind, or it is not finite.
    """
    if isinstance(source, Mapping):
        arrays: Mapping[str, Any] = source
    else:
        arrays = _read(Path(source))
    found = {_name(key): torch.as_tensor(value).double().flatten() for key, value in arrays.items()}
    bad = sorted(key for key, value in found.items() if not bool(value.isfinite().all()))
    if bad or not found:
        raise EvaluationError(f"{_what(source)} must hold finite arrays; {', '.join(bad) or 'it holds none'}.")
    return found


def named_statistics(statistics: Mapping[str, Tensor], name: str, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of that name, ``(dim)`` each; an empty name stands for ``mean`` and ``std`` alone.

    Raises:
        EvaluationError: If one is missing or has another length, or a deviation is not positive.
    """
    keys = [f"{name}_{kind}".lstrip("_") for kind in ("mean", "std")]
    missing = [key for key in keys if key not in statistics]
    if missing:
        raise EvaluationError(f"Statistics must hold {', '.join(keys)}; got {', '.join(sorted(statistics)) or 'none'}.")
    mean, std = (statistics[key] for key in keys)
    if len(mean) != dim or len(std) != dim:
        raise EvaluationError(f"{keys[0]} and {keys[1]} must hold {dim} numbers; got {len(mean)} and {len(std)}.")
    if not bool((std != 0).all()):
        raise EvaluationError(f"{keys[1]} must not be 0 anywhere; raise it to something tiny there.")
    return mean, std


def _name(key: str) -> str:
    key = key.lower()
    head, _, tail = key.rpartition("_")
    return f"{_ALIASES.get(head, head)}_{tail}" if head else key


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            return {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        if path.suffix == ".npz":
            # Opened here: NumPy leaves a broken archive open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return dict(archive.items())
        return dict(load_file(path))
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
        raise EvaluationError(
            f"{path} must be .safetensors, .npz or a folder of .npy with means and deviations; {error}."
        ) from error


def _what(source: object) -> str:
    return "`statistics`" if isinstance(source, Mapping) else str(source)
