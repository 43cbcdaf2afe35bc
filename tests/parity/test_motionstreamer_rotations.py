"""MotionStreamer's conversions: ours where ours agree, the published quirks by name."""

from __future__ import annotations

import pytest
import torch

from cospeech.representations import old_pytorch3d_matrix_to_quaternion, pytorch3d_quaternion_to_axis_angle
from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_rot6d,
    matrix_to_rot6d_columns,
    quaternion_apply,
    quaternion_multiply,
    quaternion_to_matrix,
    rot6d_to_matrix,
)


def published_axis_angle(matrix):
    return pytorch3d_quaternion_to_axis_angle(old_pytorch3d_matrix_to_quaternion(matrix))


def quaternion_between(start, end):
    """The shortest rotation from one direction to another, out of our blocks."""
    normal = torch.linalg.cross(start, end)
    length = normal.norm(dim=-1, keepdim=True)
    angle = torch.atan2(length, (start * end).sum(-1, keepdim=True))
    return axis_angle_to_quaternion(normal / length * angle)


@pytest.mark.case("motionstreamer_rotations")
def test_conversions(case):
    given, expected = case.inputs, case.outputs
    matrix = axis_angle_to_matrix(given["axis_angle"])
    quaternion = axis_angle_to_quaternion(given["axis_angle"])
    from_rot6d = rot6d_to_matrix(given["d6"])
    ours = {
        "axis_angle_to_matrix": matrix,
        "axis_angle_to_quaternion": quaternion,
        "expmap_to_quaternion": quaternion,
        "matrix_to_axis_angle": published_axis_angle(expected["axis_angle_to_matrix"]),
        "matrix_to_axis_angle_r6": published_axis_angle(from_rot6d),
        "matrix_to_quaternion": old_pytorch3d_matrix_to_quaternion(expected["axis_angle_to_matrix"]),
        "matrix_to_rotation_6d": matrix_to_rot6d(matrix),
        "qbetween": quaternion_between(given["v0"], given["v1"]),
        "qmul": quaternion_multiply(quaternion, given["q2"]),
        "qrot": quaternion_apply(given["q2"], given["v"]),
        "quaternion_to_axis_angle_q2": pytorch3d_quaternion_to_axis_angle(given["q2"]),
        "quaternion_to_cont6d": matrix_to_rot6d_columns(quaternion_to_matrix(quaternion)),
        "rotation_6d_to_matrix": from_rot6d,
    }
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, expected[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
