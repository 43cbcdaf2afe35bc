"""Style: scale and shift of normalised features, from a vector that says when and who (FiLM, "AdaIN")."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Film", "Stylization"]


class Film(NamedTuple):
    """What a stylization takes from its condition, ``(..., 1, C)``: the same for every frame.

    The LayerNorm's own weight and bias are in it already, so that one pass does both.
    """

    scale: Tensor
    shift: Tensor


class Stylization(nn.Module):
    """``Linear(SiLU(LayerNorm(x) * (1 + scale) + shift))``, silent at first since the linear layer starts at zero.

    ``film`` reads the condition alone. Where conditions are few and known beforehand (the timesteps of a sampler, a
    speaker) it is called once for all of them, and its weights, often half of a network's, are not read again.

    Args:
        dim: Width of the features.
        condition_dim: Width of the condition.

    Example:
        >>> style = Stylization(8, condition_dim=16)
        >>> style(torch.randn(2, 5, 8), style.film(torch.randn(2, 16))).shape
        torch.Size([2, 5, 8])

    Reference:
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; this block is that of Zhang
        et al., "MotionDiffuse", 2022.
    """

    def __init__(self, dim: int, condition_dim: int):
        super().__init__()
        self.condition = nn.Linear(condition_dim, 2 * dim)
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def film(self, activated: Tensor) -> Film:
        """Scale and shift from ``SiLU(condition)``, ``(..., C)``.

        The activation is left to the caller, since the blocks of a network share one condition.
        """
        scale, shift = self.condition(activated).unsqueeze(-2).chunk(2, dim=-1)
        scale = 1 + scale
        return Film(scale * self.norm.weight, torch.addcmul(shift, scale, self.norm.bias))

    def forward(self, x: Tensor, film: Film) -> Tensor:
        """Map ``(..., T, C)`` to ``(..., T, C)``."""
        y: Tensor = self.out(self.style(x, film))
        return y

    def style(self, x: Tensor, film: Film) -> Tensor:
        """What the last linear layer is given, ``(..., T, C)``."""
        width = x.shape[-1:]
        if film.scale.numel() == width.numel():  # one film for all: the normalisation takes it along
            x = F.layer_norm(x, width, film.scale.flatten(), film.shift.flatten(), self.norm.eps)
        else:
            x = torch.addcmul(film.shift, F.layer_norm(x, width, eps=self.norm.eps), film.scale)
        return F.silu(x)
