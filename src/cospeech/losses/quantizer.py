"""What trains a codebook, and how much of it is used."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["code_perplexity", "quantizer_loss"]


def quantizer_loss(latents: Tensor, codes: Tensor, *, commitment: float = 1.0) -> Tensor:
    """Mean squared distance of latents and codes, pulling each towards the other.

    Args:
        latents: What was quantised, ``(..., C)``.
        codes: Their nearest codes, ``(..., C)``, with gradient to the codebook.
        commitment: Weight of the pull on the latents; that on the codes is 1.

    Returns:
        ``mean((e - sg(z))^2) + commitment * mean((sg(e) - z)^2)``.

    Reference:
        van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, equation 3.
    """
    return F.mse_loss(codes, latents.detach()) + commitment * F.mse_loss(latents, codes.detach())


def code_perplexity(indices: Tensor, num_codes: int) -> Tensor:
    """How many codes would be in use if all were used alike: from 1 to ``num_codes``.

    Args:
        indices: Chosen codes, integers of any shape.
        num_codes: Size of the codebook.

    Returns:
        ``exp(-sum(p log p))`` of the shares ``p`` of each code, a float32 scalar.

    Example:
        >>> round(code_perplexity(torch.tensor([[0, 3], [3, 0]]), 8).item(), 4)
        2.0
    """
    shares = torch.bincount(indices.flatten(), minlength=num_codes).float() / indices.numel()
    return torch.exp(-(shares * torch.log(shares + 1e-10)).sum())
