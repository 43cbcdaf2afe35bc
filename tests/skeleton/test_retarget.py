from __future__ import annotations

import pytest
import torch

from cospeech.data.synthetic import make_clip
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance
from cospeech.skeleton import (
    BEAT,
    BEAT_FROM_SMPLX,
    BEAT_GESTURE_JOINTS,
    SMPLX,
    forward_kinematics,
    local_to_global,
    retarget_rotations,
)
from cospeech.skeleton.retarget import rest_alignment

# Bones of a single child, by the joints at their ends, for which directions can agree exactly.
BONES = [
    (f"{side}{a}", f"{side}{b}")
    for side in ("Left", "Right")
    for a, b in (
        ("Shoulder", "Arm"),
        ("Arm", "ForeArm"),
        ("ForeArm", "Hand"),
        ("HandIndex1", "HandIndex2"),
        ("HandPinky2", "HandPinky3"),
        ("HandThumb1", "HandThumb2"),
        ("UpLeg", "Leg"),
        ("Leg", "Foot"),
    )
]


def moving(num_frames=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    axis_angle = 0.6 * torch.randn(num_frames, SMPLX.num_joints, 3, generator=generator, dtype=torch.float64)
    return axis_angle_to_matrix(axis_angle)


def direction(joints, skeleton, start, end):
    bone = joints[..., skeleton.index(end), :] - joints[..., skeleton.index(start), :]
    return bone / bone.norm(dim=-1, keepdim=True)


def test_bones_point_where_the_partner_s_point():
    local = moving()
    ours = forward_kinematics(retarget_rotations(local), BEAT)
    theirs = forward_kinematics(local, SMPLX)
    for start, end in BONES:
        expected = direction(theirs, SMPLX, BEAT_FROM_SMPLX[start], BEAT_FROM_SMPLX[end])
        torch.testing.assert_close(direction(ours, BEAT, start, end), expected, rtol=0, atol=1e-6)


def test_the_trunk_turns_as_the_partner_s():
    local = moving()
    ours, theirs = local_to_global(retarget_rotations(local), BEAT), local_to_global(local, SMPLX)
    for name in ("Hips", "Spine", "Neck", "Neck1"):
        expected = theirs[:, SMPLX.index(BEAT_FROM_SMPLX[name])]
        torch.testing.assert_close(ours[:, BEAT.index(name)], expected, rtol=0, atol=1e-6)


def test_what_is_no_gesture_but_hips_and_legs_stays_in_rest():
    """So that the channels of the gesture alone, hips put back, hold what the upper body does."""
    local = retarget_rotations(moving())
    held = [i for i in range(BEAT.num_joints) if i not in BEAT_GESTURE_JOINTS and BEAT.names[i] not in BEAT_FROM_SMPLX]
    rest = torch.eye(3, dtype=torch.float64).expand_as(local[:, held])
    torch.testing.assert_close(local[:, held], rest, rtol=0, atol=1e-6)


def test_same_skeleton_same_motion():
    partners = {name: name for name in SMPLX.names}
    local = moving()
    torch.testing.assert_close(retarget_rotations(local, SMPLX, SMPLX, partners), local, rtol=0, atol=1e-6)
    turned = rest_alignment(SMPLX, SMPLX, partners)
    torch.testing.assert_close(turned, torch.eye(3, dtype=torch.float64).expand_as(turned))


def test_turning_the_whole_figure_turns_the_whole_figure():
    """Pinned at an asymmetric angle: nothing but the root changes, and it by as much."""
    local, turn = moving(), axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64))
    turned = local.clone()
    turned[:, 0] = turn @ local[:, 0]
    before, after = retarget_rotations(local), retarget_rotations(turned)
    torch.testing.assert_close(after[:, 0], turn @ before[:, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(after[:, 1:], before[:, 1:], rtol=0, atol=1e-6)


def test_left_and_right_are_treated_alike():
    """An arm raised on one side is raised as far on the other; rest poses are nearly symmetric."""
    raised = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        axis_angle = torch.zeros(55, 3, dtype=torch.float64)
        axis_angle[SMPLX.index(f"{side}_shoulder")] = torch.tensor([0.0, 0.0, 0.8 * sign])
        joints = forward_kinematics(retarget_rotations(axis_angle_to_matrix(axis_angle)), BEAT)
        raised[side] = direction(joints, BEAT, f"{side.title()}Arm", f"{side.title()}ForeArm")
    mirrored = raised["right"] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(raised["left"], mirrored, rtol=0, atol=0.15)
    assert raised["left"][1] > 0.4


def test_a_procedural_clip_stays_smooth():
    """No joint flips: between frames the figure moves as much as the one it follows."""
    local = make_clip(3.0, 1, seed=4).local_rotations.double()
    ours, theirs = local_to_global(retarget_rotations(local), BEAT), local_to_global(local, SMPLX)
    steps = [geodesic_distance(x[1:], x[:-1]).max() for x in (ours, theirs)]
    assert steps[0] <= steps[1] + 1e-6


def test_what_is_refused():
    with pytest.raises(ValueError, match="one for the root, Hips"):
        retarget_rotations(moving(), partners={"Spine": "spine3"})
    with pytest.raises(ValueError, match="Unknown joint 'tail'"):
        retarget_rotations(moving(), partners={"Hips": "tail"})
