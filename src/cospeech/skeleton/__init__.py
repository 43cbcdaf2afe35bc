"""Joint trees: what a skeleton is, SMPL-X and SMPL, forward kinematics, contact and mirroring."""

from cospeech.skeleton.kinematics import (
    forward_kinematics,
    forward_kinematics_global,
    global_to_local,
    local_to_global,
)
from cospeech.skeleton.skeleton import Skeleton
from cospeech.skeleton.smplx import SMPL22, SMPLX

__all__ = [
    "SMPL22",
    "SMPLX",
    "Skeleton",
    "forward_kinematics",
    "forward_kinematics_global",
    "global_to_local",
    "local_to_global",
]
