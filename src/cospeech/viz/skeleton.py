"""What a skeleton looks like when drawn: tapered limbs, and points added where the joint tree ends too early.

SMPL-X stops at the last finger joint, at the ball of the foot and at the hinge of the jaw. Fingertips, toes, heels,
chin, lips and pupils are added as *sites*, fixed to a joint, so that open hands and an open mouth can be seen. The
radii and offsets are ours: a plain figure of average build, not a measured body.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.motion import Motion
from cospeech.skeleton import Skeleton

__all__ = ["Figure", "Limb", "figure_of", "figure_points"]


class Limb(NamedTuple):
    """A capsule between two points, with the radius at each end in metres."""

    start: int
    end: int
    start_radius: float
    end_radius: float
    side: str  # "left", "right" or "middle"
    torso: bool  # torso limbs are drawn as one body, without seams


class Figure(NamedTuple):
    """How to draw a skeleton: its joints are points ``0 .. J - 1``, its sites ``J .. P - 1``."""

    site_parents: tuple[int, ...]
    site_offsets: Tensor  # (P - J, 3) metres, in the frame of the parent joint, whose axes at rest are the world's
    limbs: tuple[Limb, ...]
    anchors: dict[str, int]  # points that the camera and the face know by name
    height: float  # metres, heels to crown


REST_HEAD_HEIGHT = 1.53  # metres from the lowest joint to the head joint of the average SMPL-X speaker

# Radii in metres at the (parent, joint) ends, by joint name without its side.
TORSO_RADII = {
    "spine1": (0.095, 0.09), "spine2": (0.09, 0.09), "spine3": (0.09, 0.09), "neck": (0.085, 0.05),
    "head": (0.046, 0.044), "hip": (0.092, 0.088), "collar": (0.07, 0.064), "shoulder": (0.064, 0.052),
}  # fmt: skip
LIMB_RADII = {
    "knee": (0.084, 0.052), "ankle": (0.052, 0.034), "foot": (0.034, 0.03), "elbow": (0.052, 0.037),
    "wrist": (0.037, 0.025),
}  # fmt: skip
FINGER_RADII = {"1": (0.018, 0.011), "2": (0.0105, 0.009), "3": (0.009, 0.008), "tip": (0.008, 0.0065)}
SITE_LIMB_RADII = {"toe": (0.03, 0.023), "heel": (0.032, 0.026), "palm": (0.024, 0.018)}
EXTRA_LIMBS = (
    ("left_rib", "right_rib", 0.095, 0.095, True), ("left_rib", "left_hip", 0.095, 0.09, True),
    ("right_rib", "right_hip", 0.095, 0.09, True), ("skull", "chin", 0.099, 0.051, False),
)  # fmt: skip

# Site name -> (joint that carries it, offset at rest in metres: X to the figure's left, Y up, Z forward).
SITES = {
    "skull": ("head", (0.0, 0.078, 0.008)), "bridge": ("head", (0.0, 0.04, 0.103)),
    "nose": ("head", (0.0, 0.004, 0.117)),
    "left_brow": ("head", (0.033, 0.069, 0.094)), "right_brow": ("head", (-0.033, 0.069, 0.094)),
    "upper_lip": ("head", (0.0, -0.03, 0.101)), "lower_lip": ("jaw", (0.0, -0.034, 0.105)),
    "left_lip": ("head", (0.025, -0.028, 0.094)), "right_lip": ("head", (-0.025, -0.028, 0.094)),
    "chin": ("jaw", (0.0, -0.045, 0.066)),
    "left_pupil": ("left_eye_smplhf", (0.0, 0.0, 0.03)), "right_pupil": ("right_eye_smplhf", (0.0, 0.0, 0.03)),
    "left_rib": ("spine3", (0.06, 0.0, 0.012)), "right_rib": ("spine3", (-0.06, 0.0, 0.012)),
    "left_toe": ("left_foot", (0.0, -0.012, 0.055)), "right_toe": ("right_foot", (0.0, -0.012, 0.055)),
    "left_heel": ("left_ankle", (0.0, -0.045, -0.035)), "right_heel": ("right_ankle", (0.0, -0.045, -0.035)),
}  # fmt: skip
# The same face where the skeleton has no jaw and no eyes.
SITES_ON_HEAD = {
    "lower_lip": (0.0, -0.034, 0.1), "chin": (0.0, -0.045, 0.061), "left_pupil": (0.032, 0.045, 0.095),
    "right_pupil": (-0.032, 0.045, 0.095),
}  # fmt: skip
ANCHORS = {
    "pelvis", "spine2", "head", "left_wrist", "right_wrist", "left_middle1", "right_middle1", "left_hip", "right_hip",
    "skull", "bridge", "nose", "left_brow", "right_brow", "upper_lip", "lower_lip", "left_lip", "right_lip", "chin",
    "left_pupil", "right_pupil",
}  # fmt: skip
FINGERTIP_SHARE = 0.9  # length of the last finger segment, as a share of the one before it

FINGER = re.compile(r"(?:left|right)_(?:thumb|index|middle|ring|pinky)([123])")


def figure_of(skeleton: Skeleton) -> Figure:
    """The drawing plan of ``skeleton``: body-like for SMPL and SMPL-X joint names, plain sticks for any other."""
    names, rest = skeleton.names, skeleton.rest_joints.detach().double().cpu()
    index = {name: j for j, name in enumerate(names)}
    scale = float(rest[index["head"], 1] - rest[:, 1].min()) / REST_HEAD_HEIGHT if "head" in index else 1.0
    scale = scale if scale > 0 else 1.0
    sites = _sites(skeleton, index, rest, scale)
    points = {**index, **{name: len(names) + i for i, name in enumerate(sites)}}

    limbs = [_joint_limb(j, skeleton, rest, scale) for j in range(len(names)) if skeleton.parents[j] >= 0]
    for name, (joint, _) in sites.items():
        radii = FINGER_RADII["tip"] if name.endswith("_tip") else SITE_LIMB_RADII.get(_part(name))
        if radii is not None:
            limbs.append(Limb(joint, points[name], scale * radii[0], scale * radii[1], _side(name), False))
    for start, end, start_radius, end_radius, torso in EXTRA_LIMBS:
        if start in points and end in points:
            limbs.append(Limb(points[start], points[end], scale * start_radius, scale * end_radius, "middle", torso))
    height = float(rest[:, 1].max() - rest[:, 1].min()) + (0.2 * scale if "head" in index else 0.0)
    return Figure(
        site_parents=tuple(joint for joint, _ in sites.values()),
        site_offsets=torch.tensor([offset for _, offset in sites.values()], dtype=torch.float64).reshape(-1, 3),
        limbs=tuple(limb for limb in limbs if limb is not None),
        anchors={name: point for name, point in points.items() if name in ANCHORS},
        height=height if height > 0.1 else 1.75,
    )


def figure_points(motion: Motion, figure: Figure) -> Tensor:
    """World positions of the joints, then of the sites of ``figure``: ``(T, P, 3)`` metres."""
    joints = motion.joints()
    if not figure.site_parents:
        return joints
    parents = list(figure.site_parents)
    rotations = motion.global_rotations()[:, parents]
    offsets = figure.site_offsets.to(joints)
    return torch.cat([joints, joints[:, parents] + (rotations * offsets[:, None, :]).sum(-1)], dim=1)


def _sites(
    skeleton: Skeleton, index: dict[str, int], rest: Tensor, scale: float
) -> dict[str, tuple[int, tuple[float, ...]]]:
    """Site name to (joint, offset in metres), for the joints that are there."""
    sites: dict[str, tuple[int, tuple[float, ...]]] = {}
    for name, (joint, offset) in SITES.items():
        if joint not in index and name in SITES_ON_HEAD:
            joint, offset = "head", SITES_ON_HEAD[name]
        if joint in index:
            sites[name] = index[joint], tuple(scale * x for x in offset)
    leaves = set(range(skeleton.num_joints)) - set(skeleton.parents)
    for j in sorted(leaves):
        name, bone = skeleton.names[j], rest[j] - rest[skeleton.parents[j]]
        if FINGER.fullmatch(name):
            sites[f"{name}_tip"] = j, tuple((FINGERTIP_SHARE * bone).tolist())
        elif _part(name) == "wrist":  # no fingers: a mitten
            sites[f"{_side(name)}_palm"] = j, tuple((0.1 * scale * bone / bone.norm()).tolist())
    return sites


def _joint_limb(j: int, skeleton: Skeleton, rest: Tensor, scale: float) -> Limb | None:
    """The limb from the parent of joint ``j`` to it; none inside the head, which is drawn whole."""
    name, parent = skeleton.names[j], skeleton.parents[j]
    if name == "jaw" or "_eye" in name:
        return None
    if (radii := TORSO_RADII.get(_part(name))) is not None:
        return Limb(parent, j, scale * radii[0], scale * radii[1], "middle", True)
    finger = FINGER.fullmatch(name)
    if (radii := FINGER_RADII[finger[1]] if finger else LIMB_RADII.get(_part(name))) is not None:
        return Limb(parent, j, scale * radii[0], scale * radii[1], _side(name), False)
    radius = min(max(0.12 * float((rest[j] - rest[parent]).norm()), 0.006), 0.04)
    return Limb(parent, j, radius, radius, _side(name), False)


def _side(name: str) -> str:
    return next((side for side in ("left", "right") if name.lower().startswith(side)), "middle")


def _part(name: str) -> str:
    """The name without its side."""
    return name.removeprefix("left_").removeprefix("right_")
