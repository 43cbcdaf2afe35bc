"""Distances in the latent space of frozen encoders: the temporal structure constraint of GlobalDiff."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["kl_loss", "latent_loss"]


def latent_loss(predicted: Sequence[Tensor], target: Sequence[Tensor], *, beta: float = 0.02) -> Tensor:
    """Smooth L1 distances of latents at several time scales, summed.

    Args:
        predicted: What each encoder makes of the prediction, one tensor per scale, such as ``(B, T / 2, C)`` and
            ``(B, T / 4, C)``.
        target: What it makes of the ground truth, the same shapes; constant, so best computed once.
        beta: Below this difference the loss is quadratic.

    Returns:
        The sum of the means over each scale, a scalar.

    Raises:
        ValueError: If the scales differ in number or shape.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 ("temporal structure constraint").
    """
    shapes, wanted = [tuple(x.shape) for x in predicted], [tuple(x.shape) for x in target]
    if not shapes or shapes != wanted:
        raise ValueError(f"`predicted` and `target` must hold latents of the same shapes; got {shapes} and {wanted}.")
    losses = [F.smooth_l1_loss(x, y, beta=beta) for x, y in zip(predicted, target, strict=True)]
    return torch.stack(losses).sum()


def kl_loss(mean: Tensor, log_variance: Tensor, *, max_log_variance: float = 10.0) -> Tensor:
    """Mean Kullback-Leibler divergence of ``N(mean, exp(log_variance))`` from ``N(0, 1)``, per number, in nats.

    Args:
        mean: ``(..., C)``.
        log_variance: ``(..., C)``; kept within plus and minus ``max_log_variance``.
        max_log_variance: 10 in GlobalDiff; keeps the exponential of an untrained network finite.

    Example:
        >>> kl_loss(torch.ones(2, 4), torch.zeros(2, 4))
        tensor(0.5000)

    Reference:
        Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix B.
    """
    log_variance = log_variance.clamp(-max_log_variance, max_log_variance)
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
