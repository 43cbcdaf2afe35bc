"""From plans to joint rotations: trunk, head, arms by inverse kinematics, fingers, face."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cospeech.data.synthetic.gesture import GesturePlan, HandPlan, HeadPlan
from cospeech.data.synthetic.limbs import solve_two_bones
from cospeech.data.synthetic.posture import TrunkPlan, pose_legs, rotation_about
from cospeech.data.synthetic.speakers import SpeakerStyle
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics_global, local_to_global

__all__ = ["pose_body"]

SHOULDERS_AT_REST_RADIANS = 0.10  # below the T-pose
FINGER_CURL = {"index": 0.8, "middle": 0.95, "ring": 1.05, "pinky": 1.1}
KNUCKLE_SHARES = (0.75, 1.0, 0.65)  # of the curl, from the palm outward


def pose_body(
    trunk: TrunkPlan, head: HeadPlan, gestures: GesturePlan, jaw: NDArray[np.float64], style: SpeakerStyle
) -> tuple[Tensor, Tensor]:
    """Local rotations ``(T, 55, 3, 3)`` and root translation ``(T, 3)`` of the plans, in float64."""
    num_frames = len(jaw)
    local = torch.eye(3, dtype=torch.float64).repeat(num_frames, SMPLX.num_joints, 1, 1)
    translation = pose_legs(local, trunk, style)
    spine = axis_angle_to_matrix(torch.from_numpy(trunk.spine_bend / 3))
    for joint in ("spine1", "spine2", "spine3"):
        local[:, SMPLX.index(joint)] = spine
    _pose_head(local, trunk, head)
    local[:, SMPLX.index("jaw")] = rotation_about(0, jaw)
    _pose_arm(local, gestures.left, trunk.breath, style, "left")
    _pose_arm(local, gestures.right, trunk.breath, style, "right")
    return local, translation


def _pose_head(local: Tensor, trunk: TrunkPlan, head: HeadPlan) -> None:
    """Neck and head share each turn; the head stays level over a leaning trunk; eyes make up the rest of the gaze."""
    turn = np.stack([head.nod - 0.8 * trunk.spine_bend[:, 0], head.yaw, head.tilt - 0.5 * trunk.spine_bend[:, 2]], -1)
    half = axis_angle_to_matrix(torch.from_numpy(turn / 2))
    local[:, SMPLX.index("neck")] = half
    local[:, SMPLX.index("head")] = half
    eyes = rotation_about(1, np.clip(head.gaze - head.yaw, -0.4, 0.4)) @ rotation_about(
        0, np.clip(-head.nod, -0.2, 0.2)
    )
    local[:, SMPLX.index("left_eye_smplhf")] = eyes
    local[:, SMPLX.index("right_eye_smplhf")] = eyes


def _pose_arm(local: Tensor, plan: HandPlan, breath: NDArray[np.float64], style: SpeakerStyle, side: str) -> None:
    """Collar, shoulder, elbow, wrist and fingers of one side."""
    sign = 1.0 if side == "left" else -1.0
    collar, shoulder, elbow, wrist = (
        SMPLX.index(f"{side}_{joint}") for joint in ("collar", "shoulder", "elbow", "wrist")
    )
    rest = SMPLX.rest_joints.double()
    lift = np.clip(plan.wrist[:, 1] + 0.30, -0.2, 0.5)  # shoulders rise with hands above the belly, and with the breath
    local[:, collar] = rotation_about(2, sign * (0.35 * lift + 0.008 * breath - SHOULDERS_AT_REST_RADIANS))

    # Positions in the chest's frame: everything below spine3 is left out.
    chest = local.clone()
    chest[:, : SMPLX.index("spine3") + 1] = torch.eye(3, dtype=torch.float64)
    pose = local_to_global(chest, SMPLX)
    root = forward_kinematics_global(pose, SMPLX, rest_joints=rest)[:, shoulder]
    middle = rest[[16, 17]].mean(0)
    target = middle + torch.from_numpy(plan.wrist * [sign, 1.0, 1.0])
    pole = torch.tensor([sign * style.elbow_out, -0.75, -0.65], dtype=torch.float64).expand_as(target)
    upper_bone, lower_bone = rest[elbow] - rest[shoulder], rest[wrist] - rest[elbow]
    hinge = torch.tensor([0.0, -sign, 0.0], dtype=torch.float64)
    hinge = hinge - upper_bone * (hinge @ upper_bone) / (upper_bone @ upper_bone)
    hinge = hinge / hinge.norm()
    limb = solve_two_bones(root, target, pole, upper_bone, lower_bone, hinge)

    forearm = lower_bone / lower_bone.norm()
    half_twist = axis_angle_to_matrix(torch.from_numpy(plan.pronation / 2)[:, None] * forearm * sign)
    local[:, shoulder] = pose[:, collar].transpose(-1, -2) @ limb.upper_rotation
    local[:, elbow] = axis_angle_to_matrix(limb.hinge_angle[:, None] * hinge) @ half_twist
    local[:, wrist] = half_twist @ rotation_about(2, -sign * plan.flexion)
    _pose_fingers(local, plan.curl, side, sign)


def _pose_fingers(local: Tensor, curl: NDArray[np.float64], side: str, sign: float) -> None:
    for finger, strength in FINGER_CURL.items():
        for number, share in enumerate(KNUCKLE_SHARES, start=1):
            joint = SMPLX.index(f"{side}_{finger}{number}")
            local[:, joint] = rotation_about(2, -sign * strength * share * curl)
    thumb = np.zeros((len(curl), 3))
    thumb[:, 0] = 0.35
    thumb[:, 1] = sign * (0.15 + 0.35 * curl)
    local[:, SMPLX.index(f"{side}_thumb1")] = axis_angle_to_matrix(torch.from_numpy(thumb))
    for number, share in ((2, 0.3), (3, 0.5)):
        local[:, SMPLX.index(f"{side}_thumb{number}")] = rotation_about(1, sign * share * curl)
