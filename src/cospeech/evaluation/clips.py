"""What is measured of one clip: values with weights, features, beats.

Everything that a set's numbers need is kept per clip, so that sets can be resampled, cut into shards and compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cospeech.evaluation.protocols import BEAT2_MEAN_SPEEDS, FeatureRule, Protocol
from cospeech.metrics import (
    Moments,
    audio_beats,
    beat_alignment,
    expression_error,
    foot_slide,
    ground_penetration,
    jitter_spectrum,
    l1_deviation,
    mean_jerk,
    temporal_variance,
)
from cospeech.models import SkeletonAutoencoder
from cospeech.motion import Motion
from cospeech.rotations import axis_angle_to_matrix, axis_angle_to_rot6d
from cospeech.skeleton import SMPLX, forward_kinematics

__all__ = ["ClipMeasures", "clip_features", "gesture_positions", "measure_clip", "pose_features"]

JITTER_HZ = 6.0
_FEET = SMPLX.groups["feet"]


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


def measure_clip(
    name: str,
    generated: Motion,
    reference: Motion,
    protocol: Protocol,
    *,
    waveform: Tensor | None = None,
    extractor: SkeletonAutoencoder | None = None,
    rest_joints: Tensor | None = None,
    hand_mean: Tensor | None = None,
) -> ClipMeasures:
    """Everything that a protocol asks of one clip.

    Args:
        name: Of the clip.
        generated: SMPL-X motion at the protocol's rate.
        reference: The recorded motion; the longer of the two is cut.
        protocol: For BEAT2 data.
        waveform: The clip's audio at 16 kHz, ``(S,)``; without, there is no beat consistency.
        extractor: In evaluation mode; without, there is no FGD.
        rest_joints: See ``gesture_positions``.
        hand_mean: See ``gesture_positions``.

    Raises:
        ValueError: If the protocol is for other data, or a motion has another skeleton or rate.
    """
    if protocol.data != "beat2":
        raise ValueError(f"Protocol {protocol.name!r} is for {protocol.data} data; see `cospeech.evaluation`.")
    for motion in (generated, reference):
        if motion.skeleton.num_joints != SMPLX.num_joints or motion.rate_hz != protocol.rate_hz:
            raise ValueError(
                f"{name} must have {SMPLX.num_joints} joints at {protocol.rate_hz:g} Hz; "
                f"got {motion.skeleton.num_joints} at {motion.rate_hz:g} Hz."
            )
    num_frames = min(generated.num_frames, reference.num_frames)
    clip = ClipMeasures(name, num_frames)
    if generated.num_frames != reference.num_frames:
        clip.notes.append(f"{generated.num_frames} frames against {reference.num_frames}: cut to {num_frames}")
    pair = (generated[:num_frames], reference[:num_frames])
    rotations = tuple(motion.local_axis_angle.float() for motion in pair)
    if extractor is not None and "fgd" in protocol.measures and protocol.features is not None:
        first, second = (clip_features(x, protocol.features, extractor) for x in rotations)
        clip.features["fgd"] = (first, second)
    ours, theirs = (pose_features(x) for x in rotations)
    for key in ours:
        if key in protocol.measures:
            clip.moments[key] = (moments_of(ours[key]), moments_of(theirs[key]))
    _measure_alone(clip, clip.values, pair[0], protocol, waveform, rest_joints, hand_mean, keep_beats=True)
    _measure_alone(clip, clip.reference_values, pair[1], protocol, waveform, rest_joints, hand_mean)
    expressions = [motion.expressions for motion in pair]
    if "expression_error" in protocol.measures and expressions[0] is not None and expressions[1] is not None:
        if expressions[0].shape == expressions[1].shape:
            # GlobalDiff's mean over clips is not weighted by their length.
            weight = 1.0 if protocol.name == "globaldiff" else float(num_frames)
            clip.values["expression_error"] = (float(expression_error(expressions[0], expressions[1])), weight)
        else:
            clip.notes.append("expressions of another width than the reference's: left out")
    return clip


def moments_of(features: Tensor) -> Moments:
    """The moments of one clip's features, ``(N, C)``."""
    moments = Moments()
    moments.update(features)
    return moments


def _measure_alone(
    clip: ClipMeasures,
    values: dict[str, tuple[float, float]],
    motion: Motion,
    protocol: Protocol,
    waveform: Tensor | None,
    rest_joints: Tensor | None,
    hand_mean: Tensor | None,
    *,
    keep_beats: bool = False,
) -> None:
    """What needs no other motion."""
    wanted, weight, rate_hz = set(protocol.measures), float(clip.num_frames), motion.rate_hz
    axis_angle = motion.local_axis_angle.float()
    if wanted & {"bc", "l1div", "jerk", "jitter_share", "foot_slide", "ground_penetration"}:
        positions = gesture_positions(axis_angle, protocol, rest_joints=rest_joints, hand_mean=hand_mean)
    if "l1div" in wanted:
        values["l1div"] = (float(l1_deviation(positions)), weight)
    if "variance" in wanted:
        values["variance"] = (float(temporal_variance(axis_angle.flatten(1))), 1.0)
    if "jerk" in wanted and clip.num_frames > 3:
        values["jerk"] = (float(mean_jerk(positions, rate_hz)), weight)
    if "jitter_share" in wanted and clip.num_frames >= 18:
        frequencies, power = jitter_spectrum(positions[:, list(SMPLX.groups["upper"])], rate_hz)
        total = power.sum()
        share = power[frequencies > JITTER_HZ].sum() / total if total > 0 else total
        values["jitter_share"] = (float(share), weight)
    if wanted & {"foot_slide", "ground_penetration"} and clip.num_frames > 1:
        feet = positions[:, list(_FEET)] + motion.translation.float()[:, None]
        ground = feet[..., 1].quantile(0.05) if len(feet) < 1_000_000 else feet[..., 1].amin()
        feet = feet - torch.stack([ground.new_zeros(()), ground, ground.new_zeros(())])
        if "foot_slide" in wanted:
            values["foot_slide"] = (float(foot_slide(feet, rate_hz).mean_speed), weight)
        if "ground_penetration" in wanted:
            values["ground_penetration"] = (float(ground_penetration(feet).mean_depth), weight)
    rule = protocol.beat
    if rule is None or "bc" not in wanted or waveform is None:
        return
    scored = clip.num_frames - 2 * rule.margin_frames(rate_hz)
    if scored <= 0:
        return
    if clip.onsets is None:
        clip.onsets = audio_beats(waveform, num_frames=clip.num_frames, rate_hz=rate_hz, rule=rule)
    speeds = torch.tensor(BEAT2_MEAN_SPEEDS)
    found = beat_alignment(positions, clip.onsets, rate_hz=rate_hz, usual_speeds=speeds, rule=rule)
    if keep_beats:
        clip.beats, clip.joint_scores = found.beats, found.joint_scores
    if bool(found.score.isfinite()):
        values["bc"] = (float(found.score), float(scored))
    elif keep_beats:
        clip.notes.append("no beats to score: left out of BC")
