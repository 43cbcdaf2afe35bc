"""Diffusion timesteps as vectors, cosines first."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["timestep_embedding"]


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """``[cos(t w_0), cos(t w_1), ..., sin(t w_0), ...]`` with ``w_i = 10000 ** (-2 i / dim)``.

    Args:
        timesteps: Any real numbers, ``(...)``.
        dim: Width of the result, even.

    Returns:
        float32 ``(..., dim)``.

    Raises:
        ValueError: If ``dim`` is odd.

    Reference:
        Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021 (the program).

    Example:
        >>> timestep_embedding(torch.tensor([0, 1]), 4)
        tensor([[1.0000, 1.0000, 0.0000, 0.0000],
                [0.5403, 0.9999, 0.8415, 0.0100]])
    """
    if dim % 2:
        raise ValueError(f"`dim` must be even; got {dim}.")
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[..., None].float() * torch.exp(steps * (-math.log(10000) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
