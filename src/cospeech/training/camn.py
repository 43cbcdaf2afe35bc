"""Training steps of CaMN and DisCo.

Windows are EMAGE's with 128 frames at 30 Hz, of which the networks see every second one. CaMN learns from the angle
between rotations alone. DisCo also pulls together what its windows share: features of rhythm where windows have the
same rhythm label, features of content where they have the same content label. Both labels are clusters of motion.

Published: Adam at 3e-4 throughout, batches of 64, no clipping; 100,000 steps for CaMN, 14,500 for DisCo.

Reference:
    Liu et al., "BEAT", ECCV 2022; Liu et al., "DisCo: Disentangled Implicit Content and Rhythm Learning for Diverse
    Co-Speech Gestures Synthesis", ACM MM 2022; terms and weights are those of the published programs for BEAT2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.data import EmageBatch
from cospeech.losses import geodesic_loss
from cospeech.models import CamnModel, DiscoModel
from cospeech.nn import kmeans_codes, nearest_codes
from cospeech.representations import LOCAL_UPPER_JOINTS
from cospeech.rotations import rot6d_to_matrix

__all__ = [
    "LABELLED_JOINTS",
    "CamnLosses",
    "DiscoLosses",
    "balancing_weights",
    "camn_losses",
    "content_labels",
    "disco_losses",
    "draw_balanced",
    "first_frames",
    "label_contrast",
    "rhythm_labels",
    "upper_body_motion",
]

LABELLED_JOINTS = 21  # joints 0 to 20, which leaves out the right wrist, as published
_REACH = 5  # frames to either side of a beat in which nothing is slower
_ROUNDS = 100  # of k-means, by which clusters of windows have settled


class CamnLosses(NamedTuple):
    """CaMN's one term.

    Attributes:
        rotation: The mean angle between predicted and true rotations, radians.
    """

    rotation: Tensor

    @property
    def total(self) -> Tensor:
        """What is to be lowered."""
        return self.rotation


class DiscoLosses(NamedTuple):
    """DisCo's terms, each of weight 1.

    Attributes:
        rotation: As for ``CamnLosses``.
        content: How far content features are from following content labels.
        rhythm: The same of rhythm.
    """

    rotation: Tensor
    content: Tensor
    rhythm: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return torch.stack(list(self)).sum()


def upper_body_motion(batch: EmageBatch) -> Tensor:
    """What the networks are to say: Rot6D of their 43 joints in every second frame, ``(B, T // 2, 258)``.

    Raises:
        ValueError: If upper body or hands are absent.
    """
    if not {"upper", "hands"} <= batch.parts:
        raise ValueError(f"`batch` must hold upper body and hands; got {', '.join(sorted(batch.parts)) or 'nothing'}.")
    seen = batch.rot6d[:, ::2][:, : batch.rot6d.shape[1] // 2]
    return seen.reshape(*seen.shape[:2], -1, 6)[:, :, list(LOCAL_UPPER_JOINTS)].flatten(2)


def camn_losses(
    model: CamnModel, motion: Tensor, waveform: Tensor, speaker: Tensor, *, seeded: bool | Tensor = True
) -> CamnLosses:
    """The term of one step.

    Args:
        model: In training mode.
        motion: The truth, ``(B, F, 258)``; see ``upper_body_motion``.
        waveform: ``(B, S)``, of the same time.
        speaker: ``(B,)``.
        seeded: Whether the network is shown the first frames; or for each window, ``(B,)``. The published training
            always shows them, though the published program then generates without: a network that was shown them
            always has not learned what it is asked for when nobody gives a beginning.

    Raises:
        ValueError: If the audio is shorter than the motion, or a shape does not fit.
    """
    return CamnLosses(_angle(model(waveform, speaker, first_frames(model, motion, seeded)), motion))


def disco_losses(
    model: DiscoModel,
    motion: Tensor,
    waveform: Tensor,
    speaker: Tensor,
    *,
    content: Tensor,
    rhythm: Tensor,
    seeded: bool | Tensor = True,
) -> DiscoLosses:
    """The terms of one step.

    Args:
        model: In training mode.
        motion: As for ``camn_losses``.
        waveform: As for ``camn_losses``.
        speaker: As for ``camn_losses``.
        content: Labels ``(B,)``; see ``content_labels``.
        rhythm: Labels ``(B,)``; see ``rhythm_labels``.
        seeded: As for ``camn_losses``.

    Raises:
        ValueError: As for ``camn_losses``.
    """
    output = model(waveform, speaker, first_frames(model, motion, seeded))
    return DiscoLosses(
        _angle(output.motion, motion), label_contrast(output.content, content), label_contrast(output.rhythm, rhythm)
    )


def first_frames(model: CamnModel | DiscoModel, motion: Tensor, seeded: bool | Tensor) -> Tensor | None:
    """What a network is shown of the truth ``(B, F, 258)``; nothing is all zeros, to it.

    Args:
        model: Tells how many frames.
        motion: As for ``camn_losses``.
        seeded: As for ``camn_losses``.
    """
    if isinstance(seeded, bool):
        return motion[:, : model.config.seed_frames] if seeded else None
    check_shape("seeded", seeded, f"{len(motion)}")
    return motion[:, : model.config.seed_frames] * seeded[:, None, None]


def label_contrast(features: Tensor, labels: Tensor) -> Tensor:
    """Features of one label should lie together, those of two at least 1 apart.

    Every channel is divided by its norm over time, then averaged over time. Of all pairs of the batch, each clip with
    itself included, those of one label count their distance, the others what it lacks to 1.

    Args:
        features: ``(B, T, C)``.
        labels: Integers, ``(B,)``.

    Example:
        >>> alike = torch.ones(2, 4, 3)
        >>> label_contrast(alike, torch.tensor([0, 0])), label_contrast(alike, torch.tensor([0, 1]))
        (tensor(0.), tensor(0.5000))
    """
    check_shape("features", features, "B T C")
    check_shape("labels", labels, f"{len(features)}")
    means = F.normalize(features, dim=1).mean(1)
    # The square root has no slope at 0, where every clip is from itself.
    squares = (means[:, None] - means).square().sum(-1)
    distances = squares.clamp_min(1e-12).sqrt().where(squares > 0, squares)
    same = labels[:, None] == labels
    return torch.where(same, distances, F.relu(1 - distances)).mean()


@torch.no_grad()
def content_labels(
    axis_angle: Tensor,
    *,
    num_clusters: int = 10,
    generator: torch.Generator | None = None,
    num_fitted: int | None = None,
) -> Tensor:
    """Which windows hold similar poses: clusters of their axis-angles.

    Args:
        axis_angle: Local rotations of all windows of the training, radians, ``(N, T, J, 3)``, of which 21 joints count.
        num_clusters: Labels.
        generator: Where k-means begins.
        num_fitted: How many windows, from the first on, make the clusters; the others go to the nearest one. All by
            default, which the published labels took, those to test with included.

    Returns:
        Labels from 0, ``(N,)``.
    """
    check_shape("axis_angle", axis_angle, "N T J 3")
    return _clusters(axis_angle[:, :, :LABELLED_JOINTS].flatten(1), num_clusters, generator, num_fitted)


@torch.no_grad()
def rhythm_labels(
    axis_angle: Tensor,
    *,
    num_clusters: int = 10,
    generator: torch.Generator | None = None,
    num_fitted: int | None = None,
) -> Tensor:
    """Which windows have their beats alike: clusters of where joints come to rest.

    A joint rests in a frame if within five frames before and after it does not turn less from frame to frame; the first
    and the last five frames hold no rest.

    Args:
        axis_angle: As for ``content_labels``, of at least 12 frames.
        num_clusters: Labels.
        generator: Where k-means begins.
        num_fitted: As for ``content_labels``.

    Returns:
        Labels from 0, ``(N,)``.
    """
    check_shape("axis_angle", axis_angle, "N T J 3")
    if axis_angle.shape[1] < 2 * _REACH + 2:
        raise ValueError(f"`axis_angle` must hold at least {2 * _REACH + 2} frames; got {axis_angle.shape[1]}.")
    speed = axis_angle[:, :, :LABELLED_JOINTS].diff(dim=1).norm(dim=-1).transpose(1, 2)
    slowest = -F.max_pool1d(-speed, 2 * _REACH + 1, stride=1)
    rests = speed[..., _REACH:-_REACH] == slowest
    return _clusters(rests.float().flatten(1), num_clusters, generator, num_fitted)


def balancing_weights(labels: Tensor) -> Tensor:
    """How often rows are to be drawn so that every label is as likely as any other: ``(N,)``, for labels ``(N,)``.

    Example:
        >>> balancing_weights(torch.tensor([0, 0, 3]))
        tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    check_shape("labels", labels, "N")
    return 1 / labels.bincount()[labels].double()


def draw_balanced(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows of a batch in which every label is as likely as any other: int64, ``(count,)``.

    Args:
        labels: Of all windows, ``(N,)``.
        count: Rows to draw, with repetition.
        generator: On the CPU.
    """
    return torch.multinomial(balancing_weights(labels), count, replacement=True, generator=generator)


def _angle(predicted: Tensor, motion: Tensor) -> Tensor:
    """The mean angle over the frames of the truth."""
    if predicted.shape[1] < motion.shape[1]:
        raise ValueError(
            f"`waveform` must last as long as `motion`; it gives {predicted.shape[1]} frames for {motion.shape[1]}."
        )
    said, truth = (rot6d_to_matrix(x.reshape(*x.shape[:2], -1, 6)) for x in (predicted[:, : motion.shape[1]], motion))
    return geodesic_loss(said, truth)


def _clusters(vectors: Tensor, count: int, generator: torch.Generator | None, num_fitted: int | None) -> Tensor:
    codes = kmeans_codes(vectors[:num_fitted], count, generator=generator, num_rounds=_ROUNDS)
    return nearest_codes(vectors, codes)
