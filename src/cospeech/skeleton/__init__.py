"""Joint trees: what a skeleton is, SMPL-X, SMPL and BEAT, forward kinematics, contact, mirroring, retargeting."""

from cospeech.skeleton.anchors import anchor_offsets, anchor_points
from cospeech.skeleton.beat import (
    BEAT,
    BEAT_ARKIT_NAMES,
    BEAT_BASE_DEGREES,
    BEAT_BASE_POSITION,
    BEAT_GESTURE_JOINTS,
)
from cospeech.skeleton.contact import foot_contact
from cospeech.skeleton.kinematics import (
    forward_kinematics,
    forward_kinematics_global,
    global_to_local,
    local_to_global,
)
from cospeech.skeleton.mirror import (
    mirror_axis_angle,
    mirror_joints,
    mirror_rotations,
    mirror_skeleton,
    mirror_translation,
)
from cospeech.skeleton.retarget import BEAT_FROM_SMPLX, retarget_rotations
from cospeech.skeleton.skeleton import Skeleton
from cospeech.skeleton.smplx import SMPL22, SMPLX

__all__ = [
    "BEAT",
    "BEAT_ARKIT_NAMES",
    "BEAT_BASE_DEGREES",
    "BEAT_BASE_POSITION",
    "BEAT_FROM_SMPLX",
    "BEAT_GESTURE_JOINTS",
    "SMPL22",
    "SMPLX",
    "Skeleton",
    "anchor_offsets",
    "anchor_points",
    "foot_contact",
    "forward_kinematics",
    "forward_kinematics_global",
    "global_to_local",
    "local_to_global",
    "mirror_axis_angle",
    "mirror_joints",
    "mirror_rotations",
    "mirror_skeleton",
    "mirror_translation",
    "retarget_rotations",
]
