"""Measures of a set that no mean over clips gives: how much its members differ.

Each returns values whose mean is the measure, so that an interval can be had by resampling them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from cospeech.metrics import mean_pairwise_difference

__all__ = ["SET_MEASURES", "SetMeasure"]

SetMeasure: TypeAlias = Callable[[Sequence[Tensor], torch.Generator], Tensor]

_GROUP_WINDOWS = 50
_DRAWN, _DRAWN_OF_FEW = 300, 100
_DRAWN_REPEATS = 10


def window_diversity(samples: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """DiffSHEG's: mean difference of the pairs of each group of 50 windows, in order, or of all if they are fewer.

    Args:
        samples: Windows of each clip, ``(N, ...)``.
        generator: Not used; nothing is drawn.
    """
    windows = torch.cat(list(samples))
    size = min(_GROUP_WINDOWS, len(windows))
    if size < 2:
        return windows.new_zeros(0)
    starts = range(0, len(windows) - size + 1, size)
    return torch.stack([mean_pairwise_difference(windows[i : i + size]) for i in starts])


def embedding_diversity(samples: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """MotionStreamer's: distances of 300 drawn pairs of embeddings, 100 of a set of 300 or fewer.

    Sets of fewer than 100 draw as many as there are; the published program then stops.

    Args:
        samples: Embedding of each clip, ``(1, C)``.
        generator: Draws two sets of indices without repeats.
    """
    embeddings = torch.cat(list(samples)).double()
    count = min(_DRAWN if len(embeddings) > _DRAWN else _DRAWN_OF_FEW, len(embeddings))
    first, second = (torch.randperm(len(embeddings), generator=generator)[:count] for _ in range(2))
    result: Tensor = torch.linalg.vector_norm(embeddings[first] - embeddings[second], dim=-1)
    return result


def repeat_multimodality(samples: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Mean distance, for each text, of two draws of 10 repeats (or of all, if they are fewer), the same for all texts.

    Args:
        samples: Embeddings of the repeats of each text, ``(R, C)``; what one text has more than others is not used.
        generator: Draws two sets of repeats without repetition.
    """
    repeats = min(len(x) for x in samples)
    if repeats < 2:
        return torch.zeros(0)
    embeddings = torch.stack([x[:repeats] for x in samples]).double()
    count = min(_DRAWN_REPEATS, repeats)
    first, second = (torch.randperm(repeats, generator=generator)[:count] for _ in range(2))
    distances: Tensor = torch.linalg.vector_norm(embeddings[:, first] - embeddings[:, second], dim=-1)
    return distances.mean(1)


SET_MEASURES: dict[tuple[str, str], SetMeasure] = {
    ("cospeech", "diversity"): window_diversity,
    ("diffsheg", "diversity"): window_diversity,
    ("diffsheg_show", "diversity"): window_diversity,
    ("motionstreamer", "diversity"): embedding_diversity,
    ("motionstreamer", "multimodality"): repeat_multimodality,
}
"""By protocol and name."""
