"""Likelihood losses of a variational autoencoder whose one output variance is the best one, in closed form."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

__all__ = ["optimal_sigma_nll"]


def optimal_sigma_nll(predicted: Tensor, target: Tensor, *, min_log_sigma: float = -6.0) -> Tensor:
    """Negative log likelihood of ``target`` under ``N(predicted, sigma)``, summed over everything, in nats.

    ``sigma`` is one number, the root mean square of all differences, which is where the likelihood is greatest; the
    gradient flows through it. Its logarithm is kept above ``min_log_sigma`` softly.

    Args:
        predicted: ``(...)``.
        target: Same shape.
        min_log_sigma: Where the soft bound lies.

    Reference:
        Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021 (sigma-VAE).

    Example:
        >>> import torch
        >>> loss = optimal_sigma_nll(torch.zeros(4), torch.ones(4))
        >>> round(float(loss), 1)  # sigma is close to 1, so 4 * (1 + log(2 pi)) / 2
        5.7
    """
    difference = target - predicted
    log_sigma = difference.square().mean().sqrt().log()
    log_sigma = min_log_sigma + F.softplus(log_sigma - min_log_sigma)
    return (0.5 * (difference / log_sigma.exp()).square() + log_sigma + 0.5 * math.log(2 * math.pi)).sum()
