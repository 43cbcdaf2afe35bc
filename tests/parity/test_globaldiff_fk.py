"""Forward kinematics with virtual anchor points, against GlobalDiff's ``GFKWraper`` and ``LFKWraper``."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import (
    SMPLX,
    anchor_offsets,
    anchor_points,
    forward_kinematics,
    forward_kinematics_global,
    local_to_global,
)

TOLERANCE = {"atol": 1e-6, "rtol": 0}


def points(joints: Tensor, global_rotations: Tensor, num_points: int) -> Tensor:
    """Joints, then their anchor points joint by joint: ``(N, J + J * P, 3)``."""
    anchors = anchor_points(joints, global_rotations, anchor_offsets(num_points))
    return torch.cat([joints, anchors.flatten(-3, -2)], dim=-2)


def root_at_origin(rest_joints: Tensor) -> Tensor:
    """The published programs drop the rest position of the root."""
    return rest_joints - rest_joints[..., :1, :]


@pytest.mark.case("globaldiff_fk")
def test_from_global_rotations(case) -> None:
    rotations, rest = case.inputs["global_matrix"], root_at_origin(case.inputs["rest_joints"])
    joints = forward_kinematics_global(rotations, SMPLX, rest_joints=rest)
    expected = case.outputs["points"]
    num_points = expected.shape[1] // SMPLX.num_joints - 1
    torch.testing.assert_close(points(joints, rotations, num_points), expected, **TOLERANCE)


@pytest.mark.case("globaldiff_fk")
def test_from_local_rotations(case) -> None:
    local = axis_angle_to_matrix(case.inputs["local_axis_angle"].unflatten(-1, (-1, 3)))
    rest = root_at_origin(case.inputs["rest_joints"])
    joints = forward_kinematics(local, SMPLX, rest_joints=rest)
    expected = case.outputs["local_fk_points"]
    num_points = expected.shape[1] // SMPLX.num_joints - 1
    torch.testing.assert_close(points(joints, local_to_global(local, SMPLX), num_points), expected, **TOLERANCE)


@pytest.mark.parametrize("num_points", [4, 20])
@pytest.mark.case("globaldiff_fk")
def test_other_solids(case, num_points: int) -> None:
    expected = case.outputs[f"points_{num_points}_virtual"]
    rotations = case.inputs["global_matrix"][: len(expected)]
    joints = forward_kinematics_global(rotations, SMPLX, rest_joints=root_at_origin(case.inputs["rest_joints"]))
    got = points(joints, rotations, num_points)
    # The stored points may leave out the joints.
    torch.testing.assert_close(got[:, got.shape[1] - expected.shape[1] :], expected, **TOLERANCE)
