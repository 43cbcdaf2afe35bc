"""What GlobalDiff's losses see of a motion window: rotations, joints, and points that hang on joints.

Of the ground truth all of it depends on the window alone. It can be measured once, kept, and cut by windows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from cospeech._checks import check_shape
from cospeech.losses import geodesic_angles, point_error_losses
from cospeech.rotations import rot6d_to_matrix
from cospeech.skeleton import SMPLX, Skeleton, anchor_offsets, forward_kinematics_global

__all__ = ["MeasuredMotion", "anchored_losses", "measure_motion", "reconstruction_angles"]


class MeasuredMotion(NamedTuple):
    """A batch of motion windows, measured.

    Attributes:
        features: Global Rot6D rows and translation, ``(B, T, 6 J + 3)``.
        rotations: The same rotations as matrices, ``(B, T, J, 3, 3)``.
        joints: Positions without the translation, the root at the origin, metres, ``(B, T, J, 3)``.
    """

    features: Tensor
    rotations: Tensor
    joints: Tensor

    @property
    def translation(self) -> Tensor:
        """Of the root, metres, ``(B, T, 3)``."""
        return self.features[..., -3:]

    def select(self, windows: Tensor) -> Self:
        """Some of the windows, by their numbers ``(B)``."""
        return type(self)(*(tensor[windows] for tensor in self))


def measure_motion(features: Tensor, rest_joints: Tensor, skeleton: Skeleton = SMPLX) -> MeasuredMotion:
    """Measure motion windows.

    Args:
        features: Global Rot6D rows, which need not be orthonormal, and translation, ``(B, T, 6 J + 3)``.
        rest_joints: Of each window's speaker, metres, ``(B, J, 3)``.
        skeleton: The joint tree.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_shape("features", features, f"B T {6 * skeleton.num_joints + 3}")
    check_shape("rest_joints", rest_joints, f"{features.shape[0]} {skeleton.num_joints} 3")
    rotations = rot6d_to_matrix(features[..., :-3].reshape(*features.shape[:-1], skeleton.num_joints, 6))
    rest = rest_joints - rest_joints[:, :1]
    joints = forward_kinematics_global(rotations, skeleton, rest_joints=rest[:, None])
    return MeasuredMotion(features, rotations, joints)


def anchored_losses(
    predicted: MeasuredMotion, target: MeasuredMotion, *, num_anchors: int = 6, translation_sign: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth L1 of position, velocity and acceleration over all joints and their anchor points, in space.

    Args:
        predicted: The prediction.
        target: The ground truth, the same windows.
        num_anchors: Points that hang on each joint: 4, 6 or 20; see ``cospeech.skeleton.anchor_offsets``.
        translation_sign: -1 gives the error of the translation the wrong sign, as the published training of the
            masked VAEs does.

    Returns:
        Three scalars, metres and metres per frame (squared) beyond 2 cm.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 ("joint structure constraint").
    """
    rotation_error = predicted.rotations - target.rotations
    translation_error = translation_sign * (predicted.translation - target.translation)
    joint_error = predicted.joints - target.joints + translation_error[..., None, :]
    # A point is its joint plus the joint's rotation times an offset, and so is its error: one product for all points.
    offsets = anchor_offsets(num_anchors).to(joint_error)
    corners = F.pad(torch.cat([torch.zeros_like(offsets[:1]), offsets]), (0, 1), value=1.0)
    errors = torch.cat([rotation_error, joint_error[..., None]], dim=-1) @ corners.T  # (B, T, J, 3, P)
    return point_error_losses(errors.flatten(-3, -2))


def reconstruction_angles(predicted: MeasuredMotion, target: MeasuredMotion) -> tuple[Tensor, Tensor]:
    """Angles between rotations ``(B, T, J)`` in radians, and absolute errors of the translation ``(B, T, 3)``."""
    translation_error = (predicted.translation - target.translation).abs()
    return geodesic_angles(predicted.rotations, target.rotations), translation_error
