"""Change of frame rate: where the new frames fall, and what lies between two old ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cospeech.rotations import axis_angle_to_quaternion, quaternion_to_axis_angle, slerp

__all__ = ["frame_positions", "interpolate_linear", "interpolate_rotations", "sample_linear", "sample_rotations"]

BLOCK_FRAMES = 2048  # keeps the temporaries of an hour of motion in a few megabytes
SNAP_FRAMES = 1e-6  # a position this near a frame is that frame: 30 * (1 / 30) must not cost an interpolation


def frame_positions(num_frames: int, rate_hz: float, new_rate_hz: float) -> Tensor:
    """Where the frames of a clip at a new rate lie on the old frames.

    New frame ``i`` shows the moment ``i / new_rate_hz``, so that motion stays in step with its audio. The clip keeps
    its duration to within half a new frame, and new frames that fall behind the last old one hold it.

    Args:
        num_frames: Number of old frames ``T``.
        rate_hz: Old frames per second.
        new_rate_hz: New frames per second.

    Returns:
        Fractional indices in ``[0, T - 1]``, float64, ``(T',)`` with ``T' = max(1, round(T * new_rate_hz / rate_hz))``.

    Example:
        >>> frame_positions(3, rate_hz=30, new_rate_hz=60)
        tensor([0.0000, 0.5000, 1.0000, 1.5000, 2.0000, 2.0000], dtype=torch.float64)
    """
    num_new_frames = max(1, round(num_frames * new_rate_hz / rate_hz))
    positions = torch.arange(num_new_frames, dtype=torch.float64) * rate_hz / new_rate_hz
    nearest = positions.round()
    return torch.where((positions - nearest).abs() < SNAP_FRAMES, nearest, positions).clamp(max=num_frames - 1)


def sample_rotations(axis_angle: Tensor, positions: Tensor) -> Tensor:
    """Rotations at fractional frames, along the shortest turn between the neighbours.

    Args:
        axis_angle: Radians, ``(T, ..., 3)``.
        positions: Fractional indices in ``[0, T - 1]``, ``(T',)``.

    Returns:
        Axis-angles ``(T', ..., 3)``; those at whole positions are exact copies.
    """
    return _sample(axis_angle, positions, interpolate_rotations)


def sample_linear(x: Tensor, positions: Tensor) -> Tensor:
    """Values at fractional frames, on the straight line between the neighbours: ``(T, ...)`` to ``(T', ...)``."""
    return _sample(x, positions, interpolate_linear)


def interpolate_rotations(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Axis-angles on the way from ``start`` to ``end``, turning at constant speed about one axis.

    Args:
        start: Radians, ``(..., 3)``.
        end: Radians, of the same shape.
        weight: 0 at ``start``, 1 at ``end``; broadcasts against ``start`` with a last axis of 1.

    Returns:
        Axis-angles ``(..., 3)``. Where the two are the same numbers, or the weight is 0 or 1, the input comes back bit
        for bit; elsewhere the angle is at most pi.
    """
    between = slerp(axis_angle_to_quaternion(start), axis_angle_to_quaternion(end), weight[..., 0])
    between = quaternion_to_axis_angle(between)
    between = torch.where((weight == 0) | (start == end).all(-1, keepdim=True), start, between)
    return torch.where(weight == 1, end, between)


def interpolate_linear(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Values on the straight line from ``start`` (weight 0) to ``end`` (weight 1)."""
    return torch.where(weight == 1, end, start + weight * (end - start))


def _sample(x: Tensor, positions: Tensor, interpolate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    positions = positions.to(x.device)
    whole = positions.floor()
    index = whole.long()
    if torch.equal(whole, positions):  # every k-th frame: nothing to interpolate
        return x[index]
    weight = (positions - whole).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    after = (index + 1).clamp(max=x.shape[0] - 1)
    blocks = [slice(start, start + BLOCK_FRAMES) for start in range(0, len(positions), BLOCK_FRAMES)]
    return torch.cat([interpolate(x[index[block]], x[after[block]], weight[block]) for block in blocks])
