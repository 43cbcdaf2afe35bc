"""What one clip contributes to the numbers of a set, and what networks and formulas are given of it.

Everything that a set's numbers need is kept per clip, so that sets can be resampled, cut into shards and compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cospeech.evaluation.protocols import FeatureRule, Protocol
from cospeech.metrics import Moments
from cospeech.models import SkeletonAutoencoder
from cospeech.rotations import axis_angle_to_matrix, axis_angle_to_rot6d
from cospeech.skeleton import SMPLX, forward_kinematics

__all__ = ["ClipMeasures", "clip_features", "gesture_positions", "moments_of", "pose_features"]


@dataclass
class ClipMeasures:
    """What one pair of clips contributes.

    Attributes:
        name: Of the clip.
        num_frames: That were compared.
        values: Name to (value, weight) of the generated clip.
        reference_values: The same of the reference clip, where a measure needs no reference.
        features: Name to generated and reference features, ``(N, C)``.
        moments: Name to generated and reference moments, of features that are too many to keep.
        samples: Name to generated and reference members of the set, ``(N, ...)``, of which the set's spread is taken.
        joint_values: Name to values of each joint of the generated clip, ``(J)``, and their weight.
        spectra: Power of acceleration of generated and reference clip in bands of 1 Hz, ``(F)``.
        beats: Seconds of motion beats per joint, and ``onsets`` those of the audio, from the margin on.
        joint_scores: Beat consistency of each of the protocol's joints.
        notes: What happened that a reader should know.
    """

    name: str
    num_frames: int
    values: dict[str, tuple[float, float]] = field(default_factory=dict)
    reference_values: dict[str, tuple[float, float]] = field(default_factory=dict)
    features: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    moments: dict[str, tuple[Moments, Moments]] = field(default_factory=dict)
    samples: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    joint_values: dict[str, tuple[Tensor, float]] = field(default_factory=dict)
    spectra: tuple[Tensor, Tensor] | None = None
    beats: list[Tensor] = field(default_factory=list)
    onsets: Tensor | None = None
    joint_scores: Tensor | None = None
    notes: list[str] = field(default_factory=list)


def gesture_positions(
    local_axis_angle: Tensor,
    protocol: Protocol,
    *,
    rest_joints: Tensor | None = None,
    hand_mean: Tensor | None = None,
) -> Tensor:
    """Joint positions as a protocol sees them: without translation, some joints held still.

    Args:
        local_axis_angle: ``(T, 55, 3)``.
        protocol: Whose.
        rest_joints: Of the speaker's shape, ``(55, 3)``; the mean of BEAT2's speakers by default.
        hand_mean: Added to the axis-angles of the 30 finger joints, ``(30, 3)``: ``hands_meanl`` and ``hands_meanr`` of
            the body model file, which the published programs add. It moves L1 diversity, not BC.

    Returns:
        ``(T, 55, 3)`` in metres.
    """
    axis_angle = local_axis_angle
    if protocol.zeroed_joints or hand_mean is not None:
        axis_angle = axis_angle.clone()
        axis_angle[:, list(protocol.zeroed_joints)] = 0
        if hand_mean is not None:
            axis_angle[:, -len(hand_mean) :] += hand_mean.to(axis_angle)
    rest = None if rest_joints is None else rest_joints.to(axis_angle)
    return forward_kinematics(axis_angle_to_matrix(axis_angle), SMPLX, rest_joints=rest)


@torch.inference_mode()
def clip_features(local_axis_angle: Tensor, rule: FeatureRule, extractor: SkeletonAutoencoder) -> Tensor:
    """Features of a clip, ``(N, C)``; none if it is too short.

    Args:
        local_axis_angle: ``(T, 55, 3)``.
        rule: Whole clip or windows.
        extractor: In evaluation mode.
    """
    rot6d = axis_angle_to_rot6d(local_axis_angle.float()).flatten(-2)
    if rule.window_frames is None:
        length = len(rot6d) // rule.crop_frames * rule.crop_frames
        windows = rot6d[None, :length]
    else:
        starts = range(0, len(rot6d) - rule.window_frames + 1, rule.stride_frames)
        windows = torch.stack([rot6d[i : i + rule.window_frames] for i in starts]) if starts else rot6d[None, :0]
    if not windows.shape[1]:
        return rot6d.new_zeros(0, extractor.latent_dim)
    batches = [extractor.encode(windows[i : i + 64]) for i in range(0, len(windows), 64)]
    return torch.cat(batches).flatten(0, 1)


def pose_features(local_axis_angle: Tensor) -> dict[str, Tensor]:
    """Features that need no network: poses, their first differences, and fingers alone as Rot6D rows."""
    hands = list(SMPLX.groups["hands"])
    flat = local_axis_angle.flatten(1)
    return {
        "fgd_static": flat,
        "fgd_kinematic": flat.diff(dim=0),
        "fgd_hands": axis_angle_to_rot6d(local_axis_angle[:, hands]).flatten(1),
    }


def moments_of(features: Tensor) -> Moments:
    """The moments of one clip's features, ``(N, C)``."""
    moments = Moments()
    moments.update(features)
    return moments
