"""What bodies should not do: tremble, sink into the floor; and where they do it, joint by joint."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["GroundPenetration", "difference_lengths", "ground_penetration", "jitter_spectrum"]


class GroundPenetration(NamedTuple):
    """How far points are below the ground."""

    mean_depth: Tensor  # (...) metres, over frames: the deepest point of each, 0 where none is below
    max_depth: Tensor  # (...) metres
    share: Tensor  # (...) frames in which a point is below


def difference_lengths(positions: Tensor, rate_hz: float, *, order: int) -> Tensor:
    """Length of the time derivative of position of each joint, by differences: 1 speed, 2 acceleration, 3 jerk.

    Args:
        positions: ``(..., T, J, 3)`` in metres, more than ``order`` frames.
        rate_hz: Frames per second.
        order: Of the derivative.

    Returns:
        ``(..., T - order, J)`` in m/s^order. Differences of float32 positions lose a digit per order: pass float64.
    """
    check_shape("positions", positions, "... T J 3")
    if positions.shape[-3] <= order:
        raise ValueError(f"`positions` must hold {order + 1} frames at least; got {positions.shape[-3]}.")
    result: Tensor = torch.linalg.vector_norm(positions.diff(n=order, dim=-3), dim=-1) * rate_hz**order
    return result


def jitter_spectrum(positions: Tensor, rate_hz: float) -> tuple[Tensor, Tensor]:
    """Power of acceleration over frequency: a healthy body has little above 6 Hz, a trembling one a ridge.

    Args:
        positions: ``(T, J, 3)`` in metres.
        rate_hz: Frames per second.

    Returns:
        Frequencies ``(F)`` in Hz, and power ``(F, J)`` in (m/s^2)^2; the powers of a joint sum to the mean square of
        its windowed acceleration.

    Raises:
        ValueError: If there are fewer than 16 frames.
    """
    check_shape("positions", positions, "T J 3")
    if len(positions) < 16:
        raise ValueError(f"`positions` must hold 16 frames at least; got {len(positions)}.")
    acceleration = positions.double().diff(n=2, dim=0) * rate_hz**2
    window = torch.hann_window(len(acceleration), dtype=torch.float64, device=positions.device)
    window = window / window.square().mean().sqrt()
    count = len(acceleration)
    power = torch.fft.rfft(acceleration * window[:, None, None], dim=0).abs().square().sum(-1) / count**2
    power[1 : (count + 1) // 2] *= 2  # of each pair of conjugate frequencies one is kept
    return torch.fft.rfftfreq(count, 1 / rate_hz, device=positions.device, dtype=torch.float64), power


def ground_penetration(points: Tensor, *, ground_height: float = 0.0, tolerance: float = 0.005) -> GroundPenetration:
    """How far points sink below the ground.

    Args:
        points: ``(..., T, P, 3)`` in metres, Y up: joints of the feet, or vertices.
        ground_height: Where the ground is.
        tolerance: Less than this is not counted, metres.

    Returns:
        Three tensors without the axes ``T, P, 3``.
    """
    check_shape("points", points, "... T P 3")
    depth = (ground_height - points[..., 1]).amax(-1)
    depth = torch.where(depth > tolerance, depth, torch.zeros_like(depth))
    return GroundPenetration(depth.mean(-1), depth.amax(-1), (depth > 0).to(depth).mean(-1))
