"""Adaptive layer normalisation: scale, shift and gate of a residual branch, from a conditioning vector.

A branch ``f`` becomes ``x + gate * f(x * (1 + scale) + shift)``, with a LayerNorm without weights of its own before
the modulation (DiT) or after the sum (GlobalDiff).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AdaptiveModulation", "Modulation", "modulate"]


class Modulation(NamedTuple):
    """What one residual branch takes from the condition, each ``(..., 1, C)``: the same for every frame."""

    gate: Tensor
    scale: Tensor
    shift: Tensor


def modulate(x: Tensor, modulation: Modulation) -> Tensor:
    """``x * (1 + scale) + shift``, for ``x`` of shape ``(..., T, C)``."""
    return torch.addcmul(modulation.shift, x, 1 + modulation.scale)


class AdaptiveModulation(nn.Module):
    """The modulations of ``num_branches`` residual branches from one conditioning vector.

    ``Linear(SiLU(condition))``, cut into gate, scale, shift of the first branch, then of the second, and so on. It
    starts at zero, so that every gated branch starts silent ("AdaLN-Zero").

    Example:
        >>> attention, feedforward = AdaptiveModulation(16, 8, num_branches=2)(torch.randn(3, 16))
        >>> attention.gate.shape
        torch.Size([3, 1, 8])

    Reference:
        Peebles and Xie, "Scalable Diffusion Models with Transformers", ICCV 2023, section 3.2.
    """

    def __init__(self, condition_dim: int, dim: int, *, num_branches: int):
        super().__init__()
        self.num_branches = num_branches
        self.linear = nn.Linear(condition_dim, 3 * num_branches * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Modulation, ...]:
        """Modulations for conditioning vectors ``(..., C)``, one per branch."""
        chunks = self.linear(F.silu(condition)).unsqueeze(-2).chunk(3 * self.num_branches, dim=-1)
        return tuple(Modulation(*chunks[i : i + 3]) for i in range(0, len(chunks), 3))
