"""Mirror and kinematics commute; twice is nothing."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import (
    SMPL22,
    SMPLX,
    Skeleton,
    forward_kinematics,
    forward_kinematics_global,
    local_to_global,
    mirror_axis_angle,
    mirror_joints,
    mirror_rotations,
    mirror_skeleton,
    mirror_translation,
)


@pytest.fixture
def axis_angle(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(4, 55, 3, generator=generator, dtype=torch.float64)


@pytest.fixture
def translation(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(4, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("skeleton", [SMPLX, SMPL22], ids=["smplx", "smpl22"])
def test_kinematics_of_the_mirror_is_the_mirror_of_kinematics(skeleton: Skeleton, axis_angle, translation) -> None:
    local = axis_angle_to_matrix(axis_angle[:, : skeleton.num_joints])
    expected = mirror_joints(forward_kinematics(local, skeleton, translation), skeleton)
    mirrored, shifted = mirror_skeleton(skeleton), mirror_translation(translation)
    got = forward_kinematics(mirror_rotations(local, skeleton), mirrored, shifted)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    world = mirror_rotations(local_to_global(local, skeleton), skeleton)
    torch.testing.assert_close(forward_kinematics_global(world, mirrored, shifted), expected, atol=1e-6, rtol=0)


def test_a_midline_joint_mirrors_too() -> None:
    pose = torch.zeros(55, 3)
    pose[SMPLX.index("spine3")] = torch.tensor([0.0, 0.0, 0.3])  # leans to one side
    head = SMPLX.index("head")
    lean = forward_kinematics(axis_angle_to_matrix(pose), SMPLX)[head, 0] - SMPLX.rest_joints[head, 0]
    mirrored = mirror_skeleton(SMPLX)
    other = forward_kinematics(axis_angle_to_matrix(mirror_axis_angle(pose, SMPLX)), mirrored)[head, 0]
    assert abs(lean) > 0.05
    torch.testing.assert_close(other - mirrored.rest_joints[head, 0], -lean)


def test_axis_angle_and_matrix_agree(axis_angle) -> None:
    torch.testing.assert_close(
        axis_angle_to_matrix(mirror_axis_angle(axis_angle, SMPLX)),
        mirror_rotations(axis_angle_to_matrix(axis_angle), SMPLX),
    )


def test_twice_is_nothing(axis_angle, translation) -> None:
    rotations = axis_angle_to_matrix(axis_angle)
    assert torch.equal(mirror_rotations(mirror_rotations(rotations, SMPLX), SMPLX), rotations)
    assert torch.equal(mirror_axis_angle(mirror_axis_angle(axis_angle, SMPLX), SMPLX), axis_angle)
    assert torch.equal(mirror_joints(mirror_joints(axis_angle, SMPLX), SMPLX), axis_angle)
    assert torch.equal(mirror_translation(mirror_translation(translation)), translation)
    assert mirror_skeleton(mirror_skeleton(SMPLX)) == SMPLX


def test_the_convention() -> None:
    """A left elbow turned 0.6 rad about Z becomes a right elbow turned -0.6 rad about Z."""
    pose = torch.zeros(55, 3)
    pose[SMPLX.index("left_elbow")] = torch.tensor([0.0, 0.0, 0.6])
    matrix = mirror_rotations(axis_angle_to_matrix(pose), SMPLX)
    cos, sin = math.cos(0.6), math.sin(0.6)
    torch.testing.assert_close(
        matrix[SMPLX.index("right_elbow")], torch.tensor([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    )
    torch.testing.assert_close(matrix[SMPLX.index("left_elbow")], torch.eye(3))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`rotations` must have shape \(..., 55, 3, 3\)"):
        mirror_rotations(torch.zeros(22, 3, 3), SMPLX)
    with pytest.raises(ValueError, match=r"`axis_angle` must have shape \(..., 55, 3\)"):
        mirror_axis_angle(torch.zeros(22, 3), SMPLX)
    with pytest.raises(ValueError, match=r"`joints` must have shape \(..., 55, 3\)"):
        mirror_joints(torch.zeros(22, 3), SMPLX)
    with pytest.raises(ValueError, match=r"`translation` must have shape \(..., 3\)"):
        mirror_translation(torch.zeros(2))
