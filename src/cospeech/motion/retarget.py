"""A clip on another skeleton."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cospeech.motion.motion import Motion
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import BEAT, BEAT_FROM_SMPLX, Skeleton, retarget_rotations

__all__ = ["retarget_motion"]


def retarget_motion(
    motion: Motion,
    target: Skeleton = BEAT,
    partners: Mapping[str, str] = BEAT_FROM_SMPLX,
    *,
    expressions: Tensor | None = None,
) -> Motion:
    """The clip with its bones pointing as before on a skeleton of other proportions; see ``retarget_rotations``.

    The root's way is scaled by how high the two stand in their rest poses, so that feet stay about where the ground
    is, which lies at height 0. Body shape is left behind.

    Args:
        motion: The clip.
        target: Who is to move.
        partners: For joints of ``target`` the joints of the clip's skeleton that they follow.
        expressions: In the target's terms, ``(T, E)``; by default none, since weights of one face model mean nothing to
            another.

    Example:
        >>> import torch
        >>> clip = Motion(local_axis_angle=torch.zeros(60, 55, 3), translation=torch.zeros(60, 3), rate_hz=30)
        >>> retarget_motion(clip).skeleton.num_joints
        75
    """
    local = retarget_rotations(axis_angle_to_matrix(motion.local_axis_angle), motion.skeleton, target, partners)
    source_rest, rest = (skeleton.rest_joints.to(motion.translation) for skeleton in (motion.skeleton, target))
    heights = [float(joints[0, 1] - joints[:, 1].min()) for joints in (rest, source_rest)]
    translation = (source_rest[0] + motion.translation) * (heights[0] / heights[1]) - rest[0]
    return Motion.from_local_rotations(
        local, translation=translation, rate_hz=motion.rate_hz, expressions=expressions, skeleton=target
    )
