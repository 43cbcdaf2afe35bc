"""Does the motion fit its text? R-precision and matching distance in a joint embedding space.

Both are taken within groups (batches of 32 in the published programs), whose composition changes the third digit:
shuffle with a generator and say so.

Reference:
    Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022; MotionStreamer's evaluator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cospeech._checks import check_shape

__all__ = ["matching_distances", "r_precision", "retrieval_ranks"]


def matching_distances(text: Tensor, motion: Tensor, *, normalize: bool = False) -> Tensor:
    """L2 distance of every text to every motion of its group.

    Args:
        text: Embeddings, ``(..., N, C)``; row ``i`` belongs to motion ``i``.
        motion: Embeddings, the same shape.
        normalize: Bring all to length 1 first, as TMR's evaluator does.

    Returns:
        ``(..., N, N)``, texts along the rows. The diagonal's mean is MM-Dist. Differences are taken directly: the
        published expanded square can be negative and so NaN, which it sorts last.
    """
    check_shape("text", text, "... N C")
    if text.shape != motion.shape:
        raise ValueError(f"`motion` must have the shape of `text`, {tuple(text.shape)}; got {tuple(motion.shape)}.")
    if normalize:
        text, motion = F.normalize(text, dim=-1), F.normalize(motion, dim=-1)
    return torch.cdist(text, motion, compute_mode="donot_use_mm_for_euclid_dist")


def retrieval_ranks(distances: Tensor) -> Tensor:
    """How many motions are nearer to each text than its own: int64 ``(..., N)`` from distances ``(..., N, N)``."""
    check_shape("distances", distances, "... N N")
    own = distances.diagonal(dim1=-2, dim2=-1)[..., None]
    return (distances < own).sum(-1)


def r_precision(ranks: Tensor, top: int = 3) -> Tensor:
    """Share of texts whose own motion is among the first 1, 2, ..., ``top``: float64 ``(top)``.

    Example:
        >>> r_precision(torch.tensor([0, 0, 1, 5]))
        tensor([0.5000, 0.7500, 0.7500], dtype=torch.float64)
    """
    first = torch.arange(top, device=ranks.device)
    return (ranks.flatten()[:, None] <= first).double().mean(0)
