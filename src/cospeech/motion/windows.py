"""Cutting a clip into overlapping windows, and joining clips with a cross-fade."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cospeech.motion.resample import interpolate_linear, interpolate_rotations

__all__ = ["crossfade_linear", "crossfade_rotations", "window_slices"]


def window_slices(total_frames: int, num_frames: int, overlap_frames: int = 0) -> list[slice]:
    """Where the windows of a clip begin and end.

    Each window begins ``num_frames - overlap_frames`` after the one before. Together they cover the clip, so the last
    one is shorter where the clip does not divide; it always holds more than the overlap, unless it is the only one.

    Args:
        total_frames: Length of the clip.
        num_frames: Length of a window.
        overlap_frames: Frames that a window shares with the next one.

    Raises:
        ValueError: If a count is out of range.

    Example:
        >>> window_slices(10, num_frames=4, overlap_frames=1)
        [slice(0, 4, None), slice(3, 7, None), slice(6, 10, None)]
        >>> window_slices(5, num_frames=4)
        [slice(0, 4, None), slice(4, 5, None)]
    """
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1; got {num_frames}.")
    if not 0 <= overlap_frames < num_frames:
        raise ValueError(
            f"`overlap_frames` must be at least 0 and below num_frames={num_frames}; got {overlap_frames}."
        )
    hop_frames = num_frames - overlap_frames
    starts = range(0, max(1, total_frames - overlap_frames), hop_frames)
    return [slice(start, min(start + num_frames, total_frames)) for start in starts]


def crossfade_rotations(pieces: Sequence[Tensor], crossfade_frames: int) -> Tensor:
    """Join axis-angles in time, ``(T_i, ..., 3)``; see ``crossfade_linear``. Seams turn along the shortest way."""
    return _crossfade(pieces, crossfade_frames, interpolate_rotations)


def crossfade_linear(pieces: Sequence[Tensor], crossfade_frames: int) -> Tensor:
    """Join signals in time; at each seam the end of one piece and the start of the next share the same frames.

    Frame ``k`` of a seam of ``F`` frames weighs the later piece by ``(k + 1) / (F + 1)``, so that the step from either
    side into the seam is as large as the steps inside.

    Args:
        pieces: ``(T_i, ...)`` each, with at least ``F`` frames.
        crossfade_frames: Length ``F`` of a seam.

    Returns:
        ``(sum(T_i) - F * (len(pieces) - 1), ...)``. Where both sides of a seam hold the same numbers, it keeps them
        bit for bit.
    """
    return _crossfade(pieces, crossfade_frames, interpolate_linear)


def _crossfade(
    pieces: Sequence[Tensor], crossfade_frames: int, interpolate: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Tensor:
    if crossfade_frames == 0:
        return torch.cat(list(pieces))
    done, current = [], pieces[0]
    for later in pieces[1:]:
        dtype = torch.promote_types(current.dtype, later.dtype)
        weight = torch.arange(1, crossfade_frames + 1, dtype=dtype, device=later.device) / (crossfade_frames + 1)
        weight = weight.reshape(-1, *[1] * (later.ndim - 1))
        keep = current.shape[0] - crossfade_frames
        seam = interpolate(current[keep:].to(dtype), later[:crossfade_frames].to(dtype), weight)
        done.append(current[:keep])
        current = torch.cat([seam, later[crossfade_frames:]])
    return torch.cat([*done, current])
