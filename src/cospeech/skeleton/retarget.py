"""Motion of one skeleton as motion of another: partners turn alike in the world, each from its own rest pose.

Bones of two rest poses seldom point the same way, even where both are called a T-pose. So every joint with a partner
is first turned, in rest, until its bones point as the partner's do; from there it follows the partner's rotation in
the world. A joint without a partner stays as it rests on its parent. What is kept are directions of bones, not places:
a figure of other proportions reaches elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from cospeech.skeleton.beat import BEAT
from cospeech.skeleton.kinematics import global_to_local, local_to_global
from cospeech.skeleton.skeleton import Skeleton
from cospeech.skeleton.smplx import SMPLX

__all__ = ["BEAT_FROM_SMPLX", "rest_alignment", "retarget_rotations"]


def _beat_from_smplx() -> dict[str, str]:
    # Of the spine only one joint is among BEAT's gestures: it takes what SMPL-X spreads over three, since neck and arms
    # hang from the last. Likewise the upper joint of BEAT's neck takes the head.
    partners = {"Hips": "pelvis", "Spine": "spine3", "Neck": "neck", "Neck1": "head"}
    limbs = {"Shoulder": "collar", "Arm": "shoulder", "ForeArm": "elbow", "Hand": "wrist"}
    limbs |= {"UpLeg": "hip", "Leg": "knee", "Foot": "ankle", "ToeBase": "foot"}
    for finger in ("Index", "Middle", "Pinky", "Ring", "Thumb"):
        limbs |= {f"Hand{finger}{i}": f"{finger.lower()}{i}" for i in (1, 2, 3)}
    for side in ("Left", "Right"):
        partners |= {f"{side}{ours}": f"{side.lower()}_{theirs}" for ours, theirs in limbs.items()}
    return partners


BEAT_FROM_SMPLX: Mapping[str, str] = _beat_from_smplx()
"""For joints of ``BEAT`` their partners in ``SMPLX``."""


def rest_alignment(source: Skeleton, target: Skeleton, partners: Mapping[str, str]) -> Tensor:
    """How each target joint must be turned in rest for its bones to point as its partner's, float64 ``(J, 3, 3)``.

    A joint's bones go to the nearest joints below it that have partners too; where there are none (a finger's last
    joint), it is turned as its parent is. Several bones are brought into line as well as one rotation can. The trunk,
    which stands upright in either, is left alone: the root, and what has no other partner above it but such joints.

    Args:
        source: Whose motion it is.
        target: Who is to move.
        partners: For joints of ``target`` the joints of ``source`` that they follow.

    Raises:
        ValueError: If a joint is unknown.
    """
    from scipy.spatial.transform import Rotation  # here: it takes long to import, and few retarget

    follows = {target.index(ours): source.index(theirs) for ours, theirs in partners.items()}
    above = {joint: _above(joint, target, follows) for joint in follows}
    below: dict[int, list[int]] = {joint: [] for joint in follows}
    for joint, parent in above.items():
        if parent is not None:
            below[parent].append(joint)
    # The midline carries no arms' or legs' direction: it has no counterpart on the other side.
    sided = {joint for pair in target.mirror_pairs for joint in pair}
    ours, theirs = target.rest_joints.double().numpy(), source.rest_joints.double().numpy()
    turned = np.tile(np.eye(3), (target.num_joints, 1, 1))
    for joint, parent in enumerate(target.parents):
        if joint not in sided:
            continue
        if not below.get(joint):
            turned[joint] = turned[parent]
            continue
        bones = np.stack([ours[child] - ours[joint] for child in below[joint]])
        wanted = np.stack([theirs[follows[child]] - theirs[follows[joint]] for child in below[joint]])
        # The longest says most: the middle finger's bone more than the thumb's.
        lengths = np.linalg.norm(wanted, axis=-1, keepdims=True)
        rotation, _ = Rotation.align_vectors(wanted / lengths, bones, weights=lengths[:, 0])
        turned[joint] = rotation.as_matrix()
    return torch.from_numpy(turned)


def retarget_rotations(
    local_rotations: Tensor,
    source: Skeleton = SMPLX,
    target: Skeleton = BEAT,
    partners: Mapping[str, str] = BEAT_FROM_SMPLX,
) -> Tensor:
    """Local rotations of ``target`` that point its bones as ``source``'s.

    Args:
        local_rotations: Of ``source``, ``(..., J, 3, 3)``.
        source: Whose motion it is.
        target: Who is to move.
        partners: For joints of ``target`` the joints of ``source`` that they follow. The root must have one.

    Returns:
        ``(..., J', 3, 3)``.

    Raises:
        ValueError: If a joint is unknown, or the root has no partner.

    Example:
        >>> still = torch.eye(3).expand(20, 55, 3, 3)
        >>> retarget_rotations(still).shape
        torch.Size([20, 75, 3, 3])
    """
    if target.names[0] not in partners:
        raise ValueError(f"`partners` must name one for the root, {target.names[0]}.")
    turned = _cached_alignment(source, target, tuple(sorted(partners.items()))).to(local_rotations)
    world = local_to_global(local_rotations, source)
    found: list[Tensor] = []
    for joint, name in enumerate(target.names):
        if name in partners:
            found.append(world[..., source.index(partners[name]), :, :] @ turned[joint])
        else:
            found.append(found[target.parents[joint]])
    return global_to_local(torch.stack(found, dim=-3), target)


@lru_cache(maxsize=8)
def _cached_alignment(source: Skeleton, target: Skeleton, partners: tuple[tuple[str, str], ...]) -> Tensor:
    return rest_alignment(source, target, dict(partners))


def _above(joint: int, skeleton: Skeleton, known: Mapping[int, int]) -> int | None:
    """The nearest joint towards the root that is known."""
    parent = skeleton.parents[joint]
    while parent >= 0 and parent not in known:
        parent = skeleton.parents[parent]
    return parent if parent >= 0 else None
