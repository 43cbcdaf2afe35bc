"""Vector quantisation: each latent vector becomes the nearest row of a codebook.

Reference:
    van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape

__all__ = ["Quantized", "VectorQuantizer", "nearest_codes"]


class Quantized(NamedTuple):
    """What a quantizer makes of latents ``(..., C)``.

    Attributes:
        latents: The nearest codes in value, the given latents in gradient (straight-through), ``(..., C)``.
        codes: The nearest codes, with gradient to the codebook, ``(..., C)``.
        indices: Their rows in the codebook, int64, ``(...)``.
    """

    latents: Tensor
    codes: Tensor
    indices: Tensor


class VectorQuantizer(nn.Module):
    """A learned codebook of ``num_codes`` vectors.

    The losses that train it are in ``cospeech.losses``: ``quantizer_loss`` (codebook and commitment) and
    ``code_perplexity``; the rule that moves codes without gradients is ``EmaCodebook``.

    Args:
        num_codes: Rows of the codebook, ``N``.
        dim: Width of a code, ``C``.

    Example:
        >>> quantizer = VectorQuantizer(num_codes=4, dim=2)
        >>> with torch.no_grad():
        ...     _ = quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        >>> quantizer(torch.tensor([[0.9, 0.2], [0.4, 0.8]])).indices
        tensor([1, 2])
    """

    def __init__(self, num_codes: int, dim: int):
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise ``(..., C)``."""
        indices = self.nearest(latents)
        codes = self.lookup(indices)
        # In float32 `z + (e - z)` is not exactly `e`, as in the published programs.
        return Quantized(latents + (codes - latents).detach(), codes, indices)

    def nearest(self, latents: Tensor) -> Tensor:
        """Rows of the codes nearest to ``(..., C)``; see ``nearest_codes``."""
        return nearest_codes(latents, self.codebook)

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes ``(..., C)`` in the rows ``(...)``."""
        return F.embedding(indices, self.codebook)


@torch.no_grad()
def nearest_codes(latents: Tensor, codebook: Tensor) -> Tensor:
    """The rows of a codebook ``(N, C)`` nearest to latents ``(..., C)``.

    Returns:
        int64, ``(...)``; of equally near rows the first.

    Raises:
        ValueError: If latents and codes are not equally wide.
    """
    check_shape("latents", latents, f"... {codebook.shape[1]}")
    flat = latents.reshape(-1, codebook.shape[1])
    # One matrix, filled in place. The squares of the latents cannot change which code is nearest, but they are in the
    # published sum, and with it in how rounding breaks ties.
    distances = flat.square().sum(1, keepdim=True) + codebook.square().sum(1)
    distances.addmm_(flat, codebook.t(), alpha=-2)
    return distances.argmin(1).view(latents.shape[:-1])
