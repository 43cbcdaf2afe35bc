"""Everything that a protocol for BEAT2 data asks of one clip of SMPL-X motion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cospeech.evaluation.clips import ClipMeasures, clip_features, gesture_positions, moments_of, pose_features
from cospeech.evaluation.faces import SurfaceModel, expression_measures, face_measures
from cospeech.evaluation.protocols import BEAT2_MEAN_SPEEDS, Protocol
from cospeech.metrics import (
    acceleration_error,
    audio_beats,
    beat_alignment,
    correct_share,
    difference_lengths,
    foot_slide,
    ground_penetration,
    jitter_spectrum,
    l1_deviation,
    procrustes_errors,
    root_aligned_errors,
    semantic_recall,
    temporal_variance,
)
from cospeech.models import SkeletonAutoencoder
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX

__all__ = ["JITTER_HZ", "RECALL_METRES", "measure_clip"]

JITTER_HZ = 6.0
RECALL_METRES = 0.1
_BANDS = 15  # of 1 Hz, up to half of 30 frames per second
_FEET = list(SMPLX.groups["feet"])
_UPPER = list(SMPLX.groups["upper"])
_FROM_POSITIONS = {
    "bc",
    "l1div",
    "jerk",
    "jitter_share",
    "foot_contact",
    "foot_slide",
    "ground_penetration",
    "ground_share",
    "mpjpe",
    "pa_mpjpe",
    "acceleration_error",
    "pck",
    "srgr",
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
    surface: SurfaceModel | None = None,
    semantic: Tensor | None = None,
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
        surface: The body model, for the face's errors and, where ``rest_joints`` are not given, the speaker's.
        semantic: Score of each frame, ``(T)`` or longer, for semantic recall; without, every frame counts 1.

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
    clip, wanted = ClipMeasures(name, num_frames), set(protocol.measures)
    if generated.num_frames != reference.num_frames:
        clip.notes.append(f"{generated.num_frames} frames against {reference.num_frames}: cut to {num_frames}")
    pair = (generated[:num_frames], reference[:num_frames])
    if surface is not None:  # of the reference's shape, for both
        rest_joints = surface.rest_joints(reference.betas) if rest_joints is None else rest_joints
        hand_mean = surface.hand_mean if hand_mean is None else hand_mean
    rotations = [motion.local_axis_angle.float() for motion in pair]
    if extractor is not None and "fgd" in wanted and protocol.features is not None:
        first, second = (clip_features(x, protocol.features, extractor) for x in rotations)
        clip.features["fgd"] = (first, second)
    if wanted & {"fgd_static", "fgd_kinematic", "fgd_hands"}:
        ours, theirs = (pose_features(x) for x in rotations)
        clip.moments.update({key: (moments_of(ours[key]), moments_of(theirs[key])) for key in ours if key in wanted})
    if "diversity" in wanted:
        clip.samples["diversity"] = (_thin_windows(rotations[0]), _thin_windows(rotations[1]))
    if "variance" in wanted:
        for values, x in zip((clip.values, clip.reference_values), rotations, strict=True):
            values["variance"] = (float(temporal_variance(x.flatten(1))), 1.0)
    if wanted & _FROM_POSITIONS:
        scene = _Scene(protocol, waveform, rest_joints, hand_mean)
        both = [gesture_positions(x, protocol, rest_joints=rest_joints, hand_mean=hand_mean) for x in rotations]
        _measure_alone(clip, clip.values, pair[0], both[0], scene, keep=True)
        _measure_alone(clip, clip.reference_values, pair[1], both[1], scene, keep=False)
        _measure_errors(clip, both[0], both[1], wanted, semantic)
    clip.values.update(expression_measures(clip, pair[0], pair[1], protocol))
    if surface is not None and wanted & {"face_mse", "face_lvd"}:
        clip.values.update(face_measures(surface, pair[0], pair[1], protocol))
    return clip


@dataclass(frozen=True)
class _Scene:
    """What both clips are measured with."""

    protocol: Protocol
    waveform: Tensor | None
    rest_joints: Tensor | None
    hand_mean: Tensor | None


def _measure_alone(
    clip: ClipMeasures,
    values: dict[str, tuple[float, float]],
    motion: Motion,
    positions: Tensor,
    scene: _Scene,
    *,
    keep: bool,
) -> None:
    """What needs no other motion; of the generated clip also joint by joint."""
    wanted, weight, rate_hz = set(scene.protocol.measures), float(clip.num_frames), motion.rate_hz
    if "l1div" in wanted:
        values["l1div"] = (float(l1_deviation(positions)), weight)
    if "jerk" in wanted and clip.num_frames > 3:
        jerk = difference_lengths(positions, rate_hz, order=3).mean(0)
        values["jerk"] = (float(jerk.mean()), weight)
        if keep:
            clip.joint_values["jerk"] = (jerk, weight)
    if "jitter_share" in wanted and clip.num_frames >= 18:
        frequencies, power = jitter_spectrum(positions[:, _UPPER], rate_hz)
        power = power.mean(1)
        total = power.sum()
        share = power[frequencies > JITTER_HZ].sum() / total if total > 0 else total
        values["jitter_share"] = (float(share), weight)
        bands = power.new_zeros(_BANDS).index_add_(0, frequencies.long().clamp_max(_BANDS - 1), power)
        clip.spectra = (bands, bands) if clip.spectra is None else (clip.spectra[0], bands)
    if wanted & {"foot_contact", "foot_slide", "ground_penetration", "ground_share"} and clip.num_frames > 1:
        _measure_feet(values, positions[:, _FEET] + motion.translation.float()[:, None], wanted, rate_hz)
    rule = scene.protocol.beat
    if rule is None or "bc" not in wanted or scene.waveform is None:
        return
    scored = clip.num_frames - 2 * rule.margin_frames(rate_hz)
    if scored <= 0:
        return
    if clip.onsets is None:
        clip.onsets = audio_beats(scene.waveform, num_frames=clip.num_frames, rate_hz=rate_hz, rule=rule)
    speeds = torch.tensor(BEAT2_MEAN_SPEEDS)
    found = beat_alignment(positions, clip.onsets, rate_hz=rate_hz, usual_speeds=speeds, rule=rule)
    if keep:
        clip.beats, clip.joint_scores = found.beats, found.joint_scores
        clip.joint_values["bc"] = (found.joint_scores, float(scored))
    if bool(found.score.isfinite()):
        values["bc"] = (float(found.score), float(scored))
    elif keep:
        clip.notes.append("no beats to score: left out of BC")


def _measure_feet(values: dict[str, tuple[float, float]], feet: Tensor, wanted: set[str], rate_hz: float) -> None:
    """Feet on the clip's own ground: the 5th percentile of their heights."""
    heights = feet[..., 1].flatten()
    ground = heights.kthvalue(max(1, round(0.05 * len(heights)))).values
    feet = feet - torch.stack([ground.new_zeros(()), ground, ground.new_zeros(())])
    weight = float(len(feet))
    slide, depth = foot_slide(feet, rate_hz), ground_penetration(feet)
    found = {
        "foot_contact": slide.contacts,
        "foot_slide": slide.mean_speed,
        "ground_penetration": depth.mean_depth,
        "ground_share": depth.share,
    }
    values.update({name: (float(value), weight) for name, value in found.items() if name in wanted})


def _measure_errors(
    clip: ClipMeasures, generated: Tensor, reference: Tensor, wanted: set[str], semantic: Tensor | None
) -> None:
    """Distances to the recorded take, of positions ``(T, J, 3)`` with the root at rest."""
    weight = float(clip.num_frames)
    if "mpjpe" in wanted:
        errors = root_aligned_errors(generated, reference).mean(0)
        clip.values["mpjpe"] = (float(errors.mean()), weight)
        clip.joint_values["mpjpe"] = (errors, weight)
    if "pa_mpjpe" in wanted:
        clip.values["pa_mpjpe"] = (float(procrustes_errors(generated, reference).mean()), weight)
    if "acceleration_error" in wanted and clip.num_frames > 2:
        clip.values["acceleration_error"] = (float(acceleration_error(generated, reference).mean()), weight)
    if "pck" in wanted:
        clip.values["pck"] = (float(correct_share(generated, reference, threshold=RECALL_METRES)), weight)
    if "srgr" in wanted and semantic is not None:
        recall = semantic_recall(generated, reference, semantic[: clip.num_frames], threshold=RECALL_METRES)
        clip.values["srgr"] = (float(recall), weight)


def _thin_windows(axis_angle: Tensor, window_frames: int = 64, step: int = 4) -> Tensor:
    """Windows one after the other, every fourth frame, ``(N, 16, 165)``: the spread of a set needs no more."""
    count = len(axis_angle) // window_frames
    windows = axis_angle[: count * window_frames].reshape(count, window_frames, -1)
    return windows[:, ::step].contiguous()
