"""Losses that bring texts and motions together: InfoNCE without false negatives, and distances of distributions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["info_nce", "normal_kl"]


def info_nce(
    text: Tensor, motion: Tensor, *, temperature: float = 0.1, similarity: Tensor | None = None, threshold: float = 0.85
) -> Tensor:
    """Cross entropy of finding each text's motion among all, and each motion's text, averaged.

    Args:
        text: Embeddings, ``(N, C)``; row ``i`` belongs to motion ``i``.
        motion: ``(N, C)``.
        temperature: Divides the cosines.
        similarity: Of the captions, ``(N, N)``: pairs above ``threshold`` mean the same and are no negatives. A
            similarity of exactly 1 is kept as one, as published: there float rounding decides over equal captions.
        threshold: See above.

    Reference:
        van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; the filter is that of
        Petrovich et al., "TMR", ICCV 2023.

    Example:
        >>> points = torch.eye(4)
        >>> round(info_nce(points, points).item(), 6)  # log(1 + 3 exp(-10))
        0.000136
    """
    logits = F.normalize(motion, dim=-1) @ F.normalize(text, dim=-1).T / temperature
    if similarity is not None:
        same = (similarity > threshold) & (similarity < 1)
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def normal_kl(mean: Tensor, std: Tensor, other_mean: Tensor | None = None, other_std: Tensor | None = None) -> Tensor:
    """Mean divergence ``KL(N(mean, std) || N(other_mean, other_std))`` per number, in nats.

    Args:
        mean: ``(...)``.
        std: Same shape, positive.
        other_mean: Same shape; by default 0.
        other_std: Same shape; by default 1.

    Example:
        >>> normal_kl(torch.ones(3), torch.ones(3))
        tensor(0.5000)
    """
    other_mean = torch.zeros_like(mean) if other_mean is None else other_mean
    other_std = torch.ones_like(std) if other_std is None else other_std
    ratio = (std / other_std).square()
    return 0.5 * (ratio + ((mean - other_mean) / other_std).square() - 1 - ratio.log()).mean()
