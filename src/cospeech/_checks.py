"""Argument checks with one wording: what must hold, what came."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_shape"]


def check_shape(name: str, x: Tensor, pattern: str) -> None:
    """Compare the shape of ``x`` with a pattern such as ``"... J 3 3"``.

    Args:
        name: How the caller knows the argument.
        x: The tensor.
        pattern: Axes separated by spaces: a number must match exactly, a word matches any size, and a leading
            ``...`` any number of axes.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> check_shape("rotations", torch.eye(3), "... 3 3")
        >>> check_shape("rotations", torch.zeros(4, 6), "... 3 3")
        Traceback (most recent call last):
        ValueError: `rotations` must have shape (..., 3, 3); got (4, 6).
    """
    axes = pattern.split()
    open_ended = axes[0] == "..."
    tail = axes[1:] if open_ended else axes
    rank_fits = x.ndim >= len(tail) if open_ended else x.ndim == len(tail)
    sizes = x.shape[x.ndim - len(tail) :] if rank_fits else ()
    if not rank_fits or any(axis.isdigit() and int(axis) != size for axis, size in zip(tail, sizes, strict=True)):
        raise ValueError(f"`{name}` must have shape ({', '.join(axes)}); got {tuple(x.shape)}.")
