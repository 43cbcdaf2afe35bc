"""How much a motion moves, and how much motions differ: L1 diversity, pairwise distances, multimodality.

L1div of the gesture papers is the mean deviation of a clip from its own mean pose, although the papers describe a
distance between clips; both are here. Units are those of the input, metres for joint positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["drawn_diversity", "l1_deviation", "mean_pairwise_difference", "multimodality", "temporal_variance"]

_BLOCK_FRAMES = 512


def l1_deviation(positions: Tensor) -> Tensor:
    """Mean over frames of ``|x - mean over time|``, summed over coordinates: L1div of one clip.

    Args:
        positions: One clip, ``(T, J, 3)``; the input is not touched.

    Returns:
        A float64 scalar. A data set's value is the mean over clips, weighted by their frames.

    Raises:
        ValueError: If the shape does not fit or there is no frame.

    Reference:
        ``L1div`` of the programs of Liu et al., BEAT (ECCV 2022) and EMAGE (CVPR 2024).
    """
    check_shape("positions", positions, "T J 3")
    if not len(positions):
        raise ValueError("`positions` must hold one frame at least; got none.")
    x = positions.detach().flatten(1)
    # Two readings in blocks that stay in cache, no copy of the clip; the rounded mean costs 1e-8.
    blocks = [x[i : i + _BLOCK_FRAMES] for i in range(0, len(x), _BLOCK_FRAMES)]
    mean = (torch.stack([block.sum(0) for block in blocks]).sum(0, dtype=torch.float64) / len(x)).to(x.dtype)
    scratch = torch.empty_like(blocks[0])
    sums = [torch.sub(block, mean, out=scratch[: len(block)]).abs_().sum(0) for block in blocks]
    return torch.stack(sums).sum(dtype=torch.float64) / len(x)


def mean_pairwise_difference(samples: Tensor) -> Tensor:
    """Mean over pairs of samples of the mean absolute difference of their numbers.

    By sorting each number over the samples, so ``N log N`` rather than ``N^2``.

    Args:
        samples: ``(N, ...)``, two at least: windows, clips, poses.

    Returns:
        A float64 scalar: DiffSHEG's and TalkSHOW's diversity. Half of it times the numbers per sample is the
        ``1 / (2 N (N - 1)) sum |x_i - x_j|_1`` that the papers print for L1div.

    Example:
        >>> float(mean_pairwise_difference(torch.tensor([[0.0], [1.0], [3.0]])))  # (1 + 2 + 3) / 3
        2.0
    """
    if samples.ndim < 2 or len(samples) < 2:
        raise ValueError(f"`samples` must hold 2 samples at least, (N, ...); got {tuple(samples.shape)}.")
    x = samples.detach().flatten(1).double().sort(dim=0).values
    n = len(x)
    rank = torch.arange(1 - n, n, 2, dtype=x.dtype, device=x.device)  # how often x_(k) is added minus subtracted
    return (rank @ x).mean() * 2 / (n * (n - 1))


def drawn_diversity(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean L2 distance of drawn pairs of embeddings: diversity of the text-to-motion papers.

    Args:
        embeddings: ``(N, C)``.
        first: Indices, ``(K)``: 300 of them without repeats, by convention, from a generator of the caller.
        second: Others, drawn anew.
    """
    check_shape("embeddings", embeddings, "N C")
    result: Tensor = torch.linalg.vector_norm((embeddings[first] - embeddings[second]).double(), dim=-1).mean()
    return result


def multimodality(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean L2 distance between repeats for one text, over drawn pairs of repeats and all texts.

    Args:
        embeddings: ``(texts, repeats, C)``.
        first: Indices of repeats, ``(K)``.
        second: Others, drawn anew.
    """
    check_shape("embeddings", embeddings, "N R C")
    result: Tensor = torch.linalg.vector_norm((embeddings[:, first] - embeddings[:, second]).double(), dim=-1).mean()
    return result


def temporal_variance(x: Tensor) -> Tensor:
    """Variance over time (over ``T``, not ``T - 1``), averaged over all other axes of ``(T, ...)``; float64."""
    if not len(x):
        raise ValueError("`x` must hold one frame at least; got none.")
    return x.detach().double().var(0, correction=0).mean()
