"""What batches are given: one thing for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["one_each"]

T = TypeVar("T")


def one_each(name: str, given: Sequence[T] | None, count: int, *, default: T) -> Sequence[T]:
    """The given things, or as many defaults.

    Raises:
        ValueError: If there are more or fewer than clips.
    """
    if given is None:
        return [default] * count
    if len(given) != count:
        raise ValueError(f"`{name}` must be one for each of the {count} clips; got {len(given)}.")
    return given
