"""Savitzky-Golay smoothing: each frame from the polynomial that fits its neighbours best.

Reference:
    Savitzky and Golay, "Smoothing and Differentiation of Data by Simplified Least Squares Procedures", Analytical
    Chemistry 36(8), 1964.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Tensor

__all__ = ["savgol_coefficients", "smooth_savgol"]


@lru_cache
def savgol_coefficients(window_frames: int, order: int) -> tuple[float, ...]:
    """Weights of the frames around the middle one.

    Args:
        window_frames: Odd number of frames that are fitted together.
        order: Degree of the polynomial, below ``window_frames``.

    Raises:
        ValueError: If the window is even, or the order does not fit it.

    Example:
        >>> [round(21 * weight) for weight in savgol_coefficients(7, 2)]
        [-2, 3, 6, 7, 6, 3, -2]
    """
    if window_frames < 1 or window_frames % 2 == 0:
        raise ValueError(f"`window_frames` must be odd and positive; got {window_frames}.")
    if not 0 <= order < window_frames:
        raise ValueError(f"`order` must be from 0 to {window_frames - 1} for {window_frames} frames; got {order}.")
    half = window_frames // 2
    # Scaled to [-1, 1], which changes nothing but the conditioning: only the value in the middle is asked for.
    powers = np.vander(np.linspace(-1, 1, window_frames), order + 1, increasing=True) if half else np.ones((1, 1))
    return tuple(np.linalg.pinv(powers)[0].tolist())


def smooth_savgol(x: Tensor, window_frames: int = 7, order: int = 2, *, dim: int = -2) -> Tensor:
    """Smooth along time.

    Args:
        x: Any shape, such as ``(B, T, C)``.
        window_frames: Odd number of frames that are fitted together.
        order: Degree of the polynomial. Motion that is such a polynomial passes unchanged.
        dim: The axis of time.

    Returns:
        Same shape. The first and last ``window_frames // 2`` frames, which lack neighbours, are those of ``x``.

    Raises:
        ValueError: See ``savgol_coefficients``.
    """
    weights, half = savgol_coefficients(window_frames, order), window_frames // 2
    length = x.shape[dim] - 2 * half
    if length <= 0:
        return x.clone()
    inner = x.narrow(dim, 0, length) * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        inner.add_(x.narrow(dim, shift, length), alpha=weight)
    smooth = x.clone()
    smooth.narrow(dim, half, length).copy_(inner)
    return smooth
