"""BVH, on its way."""

from __future__ import annotations

import os

from cospeech.io.arrays import MotionArrays

__all__ = ["load_bvh", "save_bvh"]


def load_bvh(path: str | os.PathLike[str], *, units_per_metre: float | None = None) -> MotionArrays:
    """Read."""
    raise NotImplementedError


def save_bvh(path: str | os.PathLike[str], arrays: MotionArrays, *, units_per_metre: float = 1.0) -> None:
    """Write."""
    raise NotImplementedError
