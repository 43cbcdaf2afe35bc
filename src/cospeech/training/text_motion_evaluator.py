"""Training losses of MotionStreamer's evaluator (TMR on the 272 channels).

AdamW with PyTorch's defaults at 1e-4, 100 epochs of batches of 256.

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
from cospeech.models import NormalDistribution

__all__ = ["EvaluatorLosses", "evaluator_losses"]


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
