"""The mirror image of a motion: left and right change sides, and everything is reflected in the plane x = 0.

A skeleton is mirrored too, since people are not symmetric. Then kinematics and mirror commute:
``forward_kinematics(mirror_rotations(r), mirror_skeleton(s), mirror_translation(t))`` is
``mirror_joints(forward_kinematics(r, s, t))``. On the unmirrored skeleton that holds as far as it is symmetric. Each
function undoes itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton.skeleton import Skeleton

__all__ = ["mirror_axis_angle", "mirror_joints", "mirror_rotations", "mirror_skeleton", "mirror_translation"]


def mirror_rotations(rotations: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirrored rotation matrices, local or global: ``F R F`` of the joint on the other side, ``F = diag(-1, 1, 1)``.

    Args:
        rotations: ``(..., J, 3, 3)``.
        skeleton: Its mirror pairs say which joint is on the other side; a joint in no pair mirrors onto itself.

    Returns:
        ``(..., J, 3, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton, or one of its joints lacks a counterpart.
    """
    check_shape("rotations", rotations, f"... {skeleton.num_joints} 3 3")
    reflection = rotations.new_tensor([-1.0, 1.0, 1.0])
    return _other_side(rotations, skeleton, -3) * (reflection[:, None] * reflection)


def mirror_axis_angle(axis_angle: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirrored axis-angles, local or global; an axis is a pseudovector, so y and z change sign.

    Args:
        axis_angle: Radians, ``(..., J, 3)``.
        skeleton: Its mirror pairs say which joint is on the other side.

    Returns:
        ``(..., J, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton, or one of its joints lacks a counterpart.

    Example:
        >>> from cospeech.skeleton import SMPLX
        >>> pose = torch.zeros(55, 3)
        >>> pose[SMPLX.index("left_elbow")] = torch.tensor([0.1, 0.2, 0.3])
        >>> mirror_axis_angle(pose, SMPLX)[SMPLX.index("right_elbow")]
        tensor([ 0.1000, -0.2000, -0.3000])
    """
    check_shape("axis_angle", axis_angle, f"... {skeleton.num_joints} 3")
    return _other_side(axis_angle, skeleton, -2) * axis_angle.new_tensor([1.0, -1.0, -1.0])


def mirror_joints(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirrored joint positions: those of the other side, x negated; ``(..., J, 3)`` to ``(..., J, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton, or one of its joints lacks a counterpart.
    """
    check_shape("joints", joints, f"... {skeleton.num_joints} 3")
    return mirror_translation(_other_side(joints, skeleton, -2))


def mirror_translation(translation: Tensor) -> Tensor:
    """Positions or displacements with x negated; ``(..., 3)`` to ``(..., 3)``.

    Raises:
        ValueError: If the last axis is not 3 wide.
    """
    check_shape("translation", translation, "... 3")
    return translation * translation.new_tensor([-1.0, 1.0, 1.0])


def mirror_skeleton(skeleton: Skeleton) -> Skeleton:
    """The skeleton of the mirrored person: same names and tree, rest joints mirrored."""
    return skeleton.with_rest_joints(mirror_joints(skeleton.rest_joints, skeleton))


def _other_side(x: Tensor, skeleton: Skeleton, dim: int) -> Tensor:
    return x.index_select(dim, torch.tensor(skeleton.mirror_permutation, device=x.device))
