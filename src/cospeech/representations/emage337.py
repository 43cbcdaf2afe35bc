"""EMAGE's features: every joint's local rotation, where the root is, which feet stand.

337 channels for SMPL-X: the first two rows of each joint's local rotation matrix (joint by joint, 330), the root
translation in metres, then 1 or 0 for contact of left ankle, right ankle, left foot, right foot. Nothing is
normalised. Expressions are not among them.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024, section 4.1.
"""

from __future__ import annotations

from torch import Tensor

from cospeech.representations.published_rotations import (
    old_pytorch3d_matrix_to_quaternion,
    pytorch3d_quaternion_to_axis_angle,
)

__all__ = ["emage_matrix_to_axis_angle"]


def emage_matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors ``(..., 3)`` in radians from rotation matrices ``(..., 3, 3)``, as EMAGE has them.

    Angles below 3e-4 rad come back as 0, and the axis is off by some 1e-4 rad near pi.
    """
    return pytorch3d_quaternion_to_axis_angle(old_pytorch3d_matrix_to_quaternion(matrix))
