"""Training losses of MotionStreamer's evaluator (TMR on the 272 channels).

AdamW with PyTorch's defaults at 1e-4, 100 epochs of batches of 256. While it trains, it is told how well texts find
their motions.

Reference:
    Petrovich et al., "TMR: Text-to-Motion Retrieval Using Contrastive 3D Human Motion Synthesis", ICCV 2023; weights
    are those of MotionStreamer's program.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cospeech.losses import info_nce, normal_kl
from cospeech.metrics import matching_distances, r_precision, retrieval_ranks
from cospeech.models import NormalDistribution

__all__ = ["RETRIEVAL_GROUP", "EvaluatorLosses", "evaluator_losses", "retrieval_terms"]

RETRIEVAL_GROUP = 32
"""Motions among which each text looks for its own."""


class EvaluatorLosses(NamedTuple):
    """The terms, unweighted, scalars.

    Attributes:
        from_motion: Smooth L1 error of features decoded from the motion's latent.
        from_text: The same from the text's latent.
        text_to_motion: Divergence of the text's distribution from the motion's.
        motion_to_text: The other way round.
        text: Divergence of the text's distribution from a standard normal.
        motion: The same of the motion's.
        latent: Smooth L1 distance of the two latents.
        contrastive: InfoNCE of the means.
    """

    from_motion: Tensor
    from_text: Tensor
    text_to_motion: Tensor
    motion_to_text: Tensor
    text: Tensor
    motion: Tensor
    latent: Tensor
    contrastive: Tensor

    @property
    def total(self) -> Tensor:
        """The terms with their published weights, summed."""
        weights = self.from_motion.new_tensor([1, 1, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 0.1])
        return (torch.stack(list(self)) * weights).sum()


def evaluator_losses(
    text: NormalDistribution,
    motion: NormalDistribution,
    *,
    text_latent: Tensor,
    motion_latent: Tensor,
    decoded_text: Tensor,
    decoded_motion: Tensor,
    features: Tensor,
    similarity: Tensor | None = None,
) -> EvaluatorLosses:
    """The loss of one batch.

    Args:
        text: Distributions of the captions, ``(B, C)``.
        motion: Distributions of their motions.
        text_latent: Drawn from the first, ``(B, C)``.
        motion_latent: Drawn from the second.
        decoded_text: What the decoder makes of ``text_latent``, ``(B, T, 272)``.
        decoded_motion: What it makes of ``motion_latent``.
        features: The motions, normalised, zero behind their lengths.
        similarity: Of the captions, ``(B, B)``; see ``info_nce``.
    """
    return EvaluatorLosses(
        from_motion=F.smooth_l1_loss(decoded_motion, features),
        from_text=F.smooth_l1_loss(decoded_text, features),
        text_to_motion=normal_kl(*text, *motion),
        motion_to_text=normal_kl(*motion, *text),
        text=normal_kl(*text),
        motion=normal_kl(*motion),
        latent=F.smooth_l1_loss(text_latent, motion_latent),
        contrastive=info_nce(text.mean, motion.mean, similarity=similarity),
    )


def retrieval_terms(text: Tensor, motion: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """What the published training tells of retrieval: ``r_precision_1`` to ``r_precision_3``, and ``matching``.

    Shares of texts whose own motion is among the nearest, and the mean distance of the two, both in shuffled groups of
    32 of embeddings of length 1. By chance alone the first is 1 / 32.

    Args:
        text: Drawn embeddings, ``(N, C)``; row ``i`` belongs to motion ``i``. What is left over from groups is left
            out.
        motion: The same shape.
        generator: On the CPU, for the order.

    Returns:
        Scalars by name; none where there is no whole group.
    """
    order = torch.randperm(len(text), generator=generator)
    order = order[: len(order) // RETRIEVAL_GROUP * RETRIEVAL_GROUP].to(text.device)
    if not len(order):
        return {}
    groups = [x[order].reshape(-1, RETRIEVAL_GROUP, x.shape[-1]) for x in (text, motion)]
    distances = matching_distances(groups[0], groups[1], normalize=True)
    shares = r_precision(retrieval_ranks(distances)).float()
    found = {f"r_precision_{top}": share for top, share in enumerate(shares, start=1)}
    return {**found, "matching": distances.diagonal(dim1=-2, dim2=-1).mean()}
