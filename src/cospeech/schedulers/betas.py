"""How much noise each level of a diffusion process adds: one variance per level, level 0 the least noisy.

Plain floats: a table is made once, in float64, and never sits on a device.
"""

from __future__ import annotations

import math

__all__ = ["cosine_betas", "linear_betas", "scaled_linear_betas"]


def linear_betas(num_timesteps: int, *, start: float = 1e-4, end: float = 0.02) -> tuple[float, ...]:
    """Variances in equal steps from ``start`` to ``end``.

    Reference:
        Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, section 4.

    Example:
        >>> linear_betas(3, start=0.25, end=0.75)
        (0.25, 0.5, 0.75)
    """
    _check_count(num_timesteps)
    step = (end - start) / (num_timesteps - 1) if num_timesteps > 1 else 0.0
    return (*(start + i * step for i in range(num_timesteps - 1)), end)


def scaled_linear_betas(num_timesteps: int, *, start: float = 0.00085, end: float = 0.012) -> tuple[float, ...]:
    """Variances whose square roots go in equal steps, from ``start`` to ``end``.

    Reference:
        Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022 (the program).
    """
    return tuple(root**2 for root in linear_betas(num_timesteps, start=math.sqrt(start), end=math.sqrt(end)))


def cosine_betas(num_timesteps: int, *, offset: float = 0.008, max_beta: float = 0.999) -> tuple[float, ...]:
    """Variances under which the signal left falls as a squared cosine.

    Args:
        num_timesteps: Number of levels.
        offset: Keeps the first levels from being too small.
        max_beta: Upper bound, met by the last levels, where the cosine reaches zero.

    Reference:
        Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021, equation 17.
    """
    _check_count(num_timesteps)

    def signal(level: int) -> float:
        return math.cos((level / num_timesteps + offset) / (1 + offset) * math.pi / 2) ** 2

    return tuple(min(1 - signal(i + 1) / signal(i), max_beta) for i in range(num_timesteps))


def _check_count(num_timesteps: int) -> None:
    if num_timesteps < 1:
        raise ValueError(f"`num_timesteps` must be at least 1; got {num_timesteps}.")
