"""DiffSHEG's features: local axis-angles and expressions, normalised channel by channel.

| | BEAT | SHOW |
| --- | --- | --- |
| gesture | 47 joints of the capture skeleton, 141 | 13 of the upper body and 30 of the hands, SMPL-X, 129 |
| expression | 51 ARKit weights | jaw axis-angle 3, SMPL-X expression 100 |
| rate | 15 Hz | 30 Hz |

What is not generated (hips, legs, global orientation, eyes, translation) decodes to a fixed pose. The published means
and deviations belong to the published weights; they are not part of this package.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024; channels and numbers are those of the published program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.motion import Motion
from cospeech.representations.layout import Layout
from cospeech.representations.representation import Representation
from cospeech.rotations import (
    axis_angle_to_quaternion,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
    quaternion_to_matrix,
)
from cospeech.skeleton import (
    BEAT,
    BEAT_ARKIT_NAMES,
    BEAT_BASE_DEGREES,
    BEAT_BASE_POSITION,
    BEAT_GESTURE_JOINTS,
    SMPLX,
    Skeleton,
)

__all__ = ["DiffSHEGBeat", "DiffSHEGRepresentation", "DiffSHEGShow", "beat_euler_degrees"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffSHEGRepresentation(Representation):
    """What the two have in common: normalised channels, gesture first.

    Attributes:
        mean: Of each channel, ``(C,)``.
        std: Of each channel, ``(C,)``. Channels that never move have a tiny one: their normalised values may be huge.
        rate_hz: Frames per second of every clip.
    """

    mean: Tensor
    std: Tensor
    rate_hz: float

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            check_shape(name, getattr(self, name), str(self.layout.dim))
        if not bool((self.std != 0).all()):
            raise ValueError("`std` must not be 0 anywhere; raise it to something tiny where a channel never moves.")

    def normalize(self, channels: Tensor) -> Tensor:
        """Normalised features of ``(..., C)``."""
        return (channels - self.mean.to(channels)) / self.std.to(channels)

    def denormalize(self, features: Tensor) -> Tensor:
        """Axis-angles in radians and expression weights of features ``(..., C)``."""
        return torch.addcmul(self.mean.to(features), features, self.std.to(features))

    def _check(self, motion: Motion, skeleton: Skeleton, num_expressions: int) -> Tensor:
        """The expressions of a motion that fits."""
        if motion.rate_hz != self.rate_hz:
            raise ValueError(f"`motion` must run at {self.rate_hz:g} Hz; got {motion.rate_hz:g}. Use motion.resample.")
        if motion.skeleton.names != skeleton.names:
            raise ValueError(
                f"`motion` must have the {skeleton.num_joints} joints of {skeleton!r}; got {motion.skeleton!r}."
            )
        if motion.expressions is None or motion.expressions.shape[1] != num_expressions:
            got = "none" if motion.expressions is None else motion.expressions.shape[1]
            raise ValueError(f"`motion` must have {num_expressions} expressions; got {got}.")
        return motion.expressions.to(motion.local_axis_angle.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffSHEGBeat(DiffSHEGRepresentation):
    """47 joints of the BEAT skeleton and 51 ARKit weights.

    Example:
        >>> representation = DiffSHEGBeat(mean=torch.zeros(192), std=torch.ones(192))
        >>> representation.decode(torch.zeros(34, 192)).joints().shape
        torch.Size([34, 75, 3])
    """

    rate_hz: float = 15.0

    @classmethod
    def from_published(cls, statistics: Mapping[str, Tensor]) -> DiffSHEGBeat:
        """With the published arrays ``axis_angle_mean``, ``axis_angle_std``, ``face_mean`` and ``face_std``."""
        parts = [_named(statistics, f"{part}_{{}}") for part in ("axis_angle", "face")]
        return cls(mean=torch.cat([mean for mean, _ in parts]), std=torch.cat([std for _, std in parts]))

    @property
    def layout(self) -> Layout:
        """Gesture and expression."""
        return Layout({"gesture": 3 * len(BEAT_GESTURE_JOINTS), "expression": len(BEAT_ARKIT_NAMES)})

    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, 192)`` of a clip on the BEAT skeleton with ARKit weights for expressions.

        Raises:
            ValueError: If rate, joints or the number of expressions are others.
        """
        expression = self._check(motion, BEAT, len(BEAT_ARKIT_NAMES))
        gesture = motion.local_axis_angle[:, list(BEAT_GESTURE_JOINTS)].flatten(1)
        return self.normalize(self.layout.join({"gesture": gesture, "expression": expression}))

    def decode(self, features: Tensor) -> Motion:
        """The clip of features ``(T, 192)``, hips and legs in the base pose.

        Raises:
            ValueError: If the features do not have this layout.
        """
        check_shape("features", features, f"T {self.layout.dim}")
        parts = self.layout.split(self.denormalize(features))
        radians = torch.deg2rad(torch.tensor(BEAT_BASE_DEGREES, dtype=torch.float64))
        base = matrix_to_axis_angle(euler_to_matrix(radians, "XYZ")).to(features)
        local_axis_angle = base.repeat(len(features), 1, 1)
        local_axis_angle[:, list(BEAT_GESTURE_JOINTS)] = parts["gesture"].reshape(len(features), -1, 3)
        position = features.new_tensor(BEAT_BASE_POSITION) / 100 - BEAT.rest_joints[0].to(features)
        return Motion(
            local_axis_angle=local_axis_angle,
            translation=position.repeat(len(features), 1),
            expressions=parts["expression"],
            rate_hz=self.rate_hz,
            skeleton=BEAT,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DiffSHEGShow(DiffSHEGRepresentation):
    """SMPL-X: upper body, hands, jaw and 100 expression weights.

    Example:
        >>> representation = DiffSHEGShow(mean=torch.zeros(232), std=torch.ones(232))
        >>> motion = representation.decode(torch.zeros(88, 232))
        >>> motion.joints().shape, motion.expressions.shape
        (torch.Size([88, 55, 3]), torch.Size([88, 100]))

    Note:
        The published deviation of the jaw is its mean, by a slip that the published weights were trained with.
    """

    rate_hz: float = 30.0

    @classmethod
    def from_published(cls, statistics: Mapping[str, Tensor], *, rate_hz: float = 30.0) -> DiffSHEGShow:
        """With the published arrays ``motion_mean`` and ``motion_std``."""
        mean, std = _named(statistics, "motion_{}")
        return cls(mean=mean, std=std, rate_hz=rate_hz)

    @property
    def layout(self) -> Layout:
        """Body and hands are the gesture, jaw and expression the face."""
        return Layout({"body": 39, "hands": 90, "jaw": 3, "expression": 100})

    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, 232)`` of an SMPL-X clip with 100 expressions.

        Raises:
            ValueError: If rate, joints or the number of expressions are others.
        """
        expression = self._check(motion, SMPLX, 100)
        parts = {name: motion.local_axis_angle[:, joints].flatten(1) for name, joints in _SHOW_JOINTS.items()}
        return self.normalize(self.layout.join({**parts, "expression": expression}))

    def decode(self, features: Tensor) -> Motion:
        """The clip of features ``(T, 232)``; every other joint is in its rest pose, the root at the origin.

        Raises:
            ValueError: If the features do not have this layout.
        """
        check_shape("features", features, f"T {self.layout.dim}")
        parts = self.layout.split(self.denormalize(features))
        local_axis_angle = features.new_zeros(len(features), SMPLX.num_joints, 3)
        for name, joints in _SHOW_JOINTS.items():
            local_axis_angle[:, joints] = parts[name].reshape(len(features), -1, 3)
        return Motion(
            local_axis_angle=local_axis_angle,
            translation=features.new_zeros(len(features), 3),
            expressions=parts["expression"],
            rate_hz=self.rate_hz,
        )


_SHOW_JOINTS = {
    "body": list(SMPLX.groups["upper"]),
    "hands": list(SMPLX.groups["hands"]),
    "jaw": [SMPLX.index("jaw")],
}


def beat_euler_degrees(gesture: Tensor) -> Tensor:
    """Angles X, Y, Z in degrees, ``R = R_x R_y R_z``, of axis-angles ``(..., 141)`` in radians; same shape."""
    matrix = quaternion_to_matrix(axis_angle_to_quaternion(gesture.reshape(*gesture.shape[:-1], -1, 3)))
    return (matrix_to_euler(matrix, "XYZ") * (180 / math.pi)).flatten(-2)


def _named(statistics: Mapping[str, Tensor], pattern: str) -> tuple[Tensor, Tensor]:
    names = [pattern.format(kind) for kind in ("mean", "std")]
    missing = [name for name in names if name not in statistics]
    if missing:
        raise ValueError(f"`statistics` must hold {', '.join(names)}; {', '.join(missing)} is missing.")
    return statistics[names[0]], statistics[names[1]]
