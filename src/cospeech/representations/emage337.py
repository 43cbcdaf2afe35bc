"""EMAGE's features: every joint's local rotation, where the root is, which feet stand.

337 channels for SMPL-X: the first two rows of each joint's local rotation matrix (joint by joint, 330), the root
translation in metres, then 1 or 0 for contact of left ankle, right ankle, left foot, right foot. Nothing is
normalised. Expressions are not among them.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the channels are those of its published program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.motion import Motion
from cospeech.representations.layout import Layout
from cospeech.representations.published_rotations import (
    old_pytorch3d_matrix_to_quaternion,
    pytorch3d_quaternion_to_axis_angle,
)
from cospeech.representations.representation import Representation
from cospeech.rotations import axis_angle_to_rot6d, matrix_to_axis_angle, rot6d_to_matrix
from cospeech.skeleton import SMPLX, Skeleton

__all__ = ["Emage337", "emage_foot_contact", "emage_matrix_to_axis_angle"]


@dataclass(frozen=True, kw_only=True)
class Emage337(Representation):
    """Local rotations as Rot6D rows, translation and foot contact.

    Attributes:
        rate_hz: Frames per second of every clip.
        skeleton: The joints; it must have a group ``"feet"``.
        matrix_to_axis_angle: How decoded rotations become axis-angles. Ours is exact; ``emage_matrix_to_axis_angle``
            gives the published numbers.

    Example:
        >>> motion = Motion(local_axis_angle=0.1 * torch.randn(9, 55, 3), translation=torch.zeros(9, 3), rate_hz=30)
        >>> features = Emage337().encode(motion)
        >>> features.shape
        torch.Size([9, 337])
        >>> torch.allclose(Emage337().decode(features).local_axis_angle, motion.local_axis_angle, atol=1e-5)
        True
    """

    rate_hz: float = 30.0
    skeleton: Skeleton = SMPLX
    matrix_to_axis_angle: Callable[[Tensor], Tensor] = matrix_to_axis_angle

    @property
    def layout(self) -> Layout:
        """Rotations, translation and contact."""
        return Layout({"rotations": 6 * self.skeleton.num_joints, "translation": 3, "contact": self._num_feet})

    @property
    def _num_feet(self) -> int:
        return len(self.skeleton.groups["feet"])

    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, C)`` of a clip; contact is told from how its feet move on the mean rest pose.

        Raises:
            ValueError: If rate or joints are others.
        """
        if motion.rate_hz != self.rate_hz:
            raise ValueError(f"`motion` must run at {self.rate_hz:g} Hz; got {motion.rate_hz:g}. Use motion.resample.")
        if motion.skeleton.parents != self.skeleton.parents:
            raise ValueError(
                f"`motion` must have the {self.skeleton.num_joints} joints of the representation's skeleton; "
                f"got {motion.skeleton.num_joints}, or another tree."
            )
        contact = emage_foot_contact(motion.joints()[:, list(self.skeleton.groups["feet"])])
        parts = {
            "rotations": axis_angle_to_rot6d(motion.local_axis_angle).flatten(-2),
            "translation": motion.translation,
            "contact": contact,
        }
        return self.layout.join({name: part.to(motion.local_axis_angle.dtype) for name, part in parts.items()})

    def decode(self, features: Tensor) -> Motion:
        """The clip of features ``(T, C)``, whose rows need not be orthonormal; contact is left out.

        Raises:
            ValueError: If the features do not have this layout.
        """
        check_shape("features", features, f"T {self.layout.dim}")
        parts = self.layout.split(features)
        rotations = rot6d_to_matrix(parts["rotations"].reshape(len(features), -1, 6))
        return Motion(
            local_axis_angle=self.matrix_to_axis_angle(rotations),
            translation=parts["translation"],
            rate_hz=self.rate_hz,
            skeleton=self.skeleton,
        )


def emage_foot_contact(feet: Tensor, *, max_step_metres: float = 0.01) -> Tensor:
    """Whether each foot joint moves less than ``max_step_metres`` to the next frame, as EMAGE's labels have it.

    Args:
        feet: Positions in metres, ``(..., T, F, 3)``.
        max_step_metres: Per frame; the published value is for 30 frames per second.

    Returns:
        bool, ``(..., T, F)``. The last frame is always in contact, whatever happens before it; for contact without
        this quirk, and with the height of the feet, see ``cospeech.skeleton.foot_contact``.
    """
    check_shape("feet", feet, "... T F 3")
    steps = torch.cat([feet.diff(dim=-3), torch.zeros_like(feet[..., -1:, :, :])], dim=-3)
    contact: Tensor = torch.linalg.vector_norm(steps, dim=-1) < max_step_metres
    return contact


def emage_matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians from rotation matrices ``(..., 3, 3)``, as EMAGE has them.

    Angles below 3e-4 rad come back as 0, and the axis is off by some 1e-4 rad near pi.
    """
    return pytorch3d_quaternion_to_axis_angle(old_pytorch3d_matrix_to_quaternion(matrix))
