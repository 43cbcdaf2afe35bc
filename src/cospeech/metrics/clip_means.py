"""Any measure of a clip as one of a set: clips come in one by one, shards and processes add up.

Functions of this package measure one clip. The published programs average them over a set, most of them weighted by
frames; ``CLIP_MEANS`` says for each function by what.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor

from cospeech.metrics.accumulators import MeanAccumulator
from cospeech.metrics.diversity import drawn_diversity, l1_deviation, mean_pairwise_difference, multimodality
from cospeech.metrics.face import (
    expression_error,
    expression_lvd,
    expression_mse,
    position_lvd,
    speed_lvd,
    velocity_lvd,
    vertex_mse,
)
from cospeech.metrics.kinematics import foot_slide, mean_jerk
from cospeech.metrics.motion_quality import ground_penetration
from cospeech.metrics.pose import (
    acceleration_error,
    correct_share,
    joint_errors,
    procrustes_errors,
    root_aligned_errors,
    semantic_recall,
)
from cospeech.metrics.retrieval import matching_distances, r_precision, retrieval_ranks

__all__ = ["CLIP_MEANS", "ClipMean", "clip_mean"]

Measure: TypeAlias = Callable[..., Tensor]


class ClipMean:
    """The weighted mean of a measure over clips.

    Args:
        measure: Of one clip: tensors in, a tensor of one shape out.
        weigh: Weight of a clip, from the same tensors; every clip counts alike by default.

    Example:
        >>> import torch
        >>> from cospeech.metrics import l1_deviation
        >>> spread = ClipMean(l1_deviation, weigh=len)
        >>> for num_frames in (10, 30):
        ...     spread.update(torch.arange(float(num_frames)).expand(1, 3, -1).permute(2, 0, 1))
        >>> float(spread.compute())  # (10 * 7.5 + 30 * 22.5) / 40
        18.75
    """

    def __init__(self, measure: Measure, *, weigh: Callable[..., float] | None = None):
        self.measure, self.weigh = measure, weigh
        self.mean = MeanAccumulator()

    def reset(self) -> None:
        """Forget everything."""
        self.mean.reset()

    def update(self, *clip: Tensor, **options: Any) -> None:
        """Measure one clip and take it in; options go to the measure."""
        self.mean.update(self.measure(*clip, **options), 1.0 if self.weigh is None else float(self.weigh(*clip)))

    def merge(self, other: ClipMean) -> None:
        """Take in what ``other`` has seen."""
        self.mean.merge(other.mean)

    def compute(self) -> Tensor:
        """The mean, float64.

        Raises:
            ValueError: If nothing was taken in.
        """
        return self.mean.compute()


def _frames(clip: Tensor, *_: Any) -> float:
    return float(len(clip))


def _mean_of(measure: Measure) -> Measure:
    """The mean over frames and joints of what a measure has for each."""
    return partial(_averaged, measure)


def _averaged(measure: Measure, *clip: Tensor, **options: Any) -> Tensor:
    return measure(*clip, **options).double().nanmean()


def _per_joint(measure: Measure, *clip: Tensor, **options: Any) -> Tensor:
    return measure(*clip, **options).double().nanmean(0)


def _r_precision(text: Tensor, motion: Tensor, **options: Any) -> Tensor:
    return r_precision(retrieval_ranks(matching_distances(text, motion, **options)))


def _mm_distance(text: Tensor, motion: Tensor, **options: Any) -> Tensor:
    return matching_distances(text, motion, **options).diagonal(dim1=-2, dim2=-1).double().mean()


def _slide_speed(feet: Tensor, **options: Any) -> Tensor:
    return foot_slide(feet, **options).mean_speed


def _contact_share(feet: Tensor, **options: Any) -> Tensor:
    return foot_slide(feet, **options).contacts


def _depth(points: Tensor, **options: Any) -> Tensor:
    return ground_penetration(points, **options).mean_depth


CLIP_MEANS: dict[str, tuple[Measure, Callable[..., float] | None]] = {
    "l1_diversity": (l1_deviation, _frames),
    "pairwise_diversity": (mean_pairwise_difference, None),
    "drawn_diversity": (drawn_diversity, None),
    "multimodality": (multimodality, _frames),
    "face_mse": (vertex_mse, _frames),
    "face_lvd": (velocity_lvd, _frames),
    "face_position_lvd": (position_lvd, _frames),
    "speed_lvd": (speed_lvd, None),
    "expression_error": (expression_error, _frames),
    "expression_mse": (expression_mse, _frames),
    "expression_lvd": (expression_lvd, _frames),
    "srgr": (semantic_recall, _frames),
    "pck": (correct_share, _frames),
    "r_precision": (_r_precision, _frames),
    "mm_distance": (_mm_distance, _frames),
    "position_error": (_mean_of(joint_errors), _frames),
    "mpjpe": (_mean_of(root_aligned_errors), _frames),
    "mpjpe_per_joint": (partial(_per_joint, root_aligned_errors), _frames),
    "pa_mpjpe": (_mean_of(procrustes_errors), _frames),
    "acceleration_error": (_mean_of(acceleration_error), _frames),
    "jerk": (mean_jerk, _frames),
    "foot_slide": (_slide_speed, _frames),
    "foot_contact": (_contact_share, _frames),
    "ground_penetration": (_depth, _frames),
}
"""Measures of clips by name, and by what clips are weighted: frames (for retrieval, the size of the batch) or alike."""


def clip_mean(name: str) -> ClipMean:
    """The accumulator of that name.

    Raises:
        ValueError: If there is none.

    Example:
        >>> import torch
        >>> error = clip_mean("mpjpe")
        >>> clip = torch.zeros(4, 2, 3)
        >>> error.update(clip, clip + torch.tensor([[0.0, 0, 0], [0, 0, 1]]))
        >>> float(error.compute())
        0.5
    """
    if name not in CLIP_MEANS:
        raise ValueError(f"Unknown measure {name!r}; choose from {', '.join(CLIP_MEANS)}.")
    measure, weigh = CLIP_MEANS[name]
    return ClipMean(measure, weigh=weigh)
