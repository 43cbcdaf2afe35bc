"""DiffSHEG's conversions agree with ours, up to a turn of 2 pi that the published code does not take back."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.data.beat import beat_axis_angle
from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
    quaternion_to_matrix,
)


def assert_within(actual, expected):
    tolerance = 1e-6 if expected.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def short_way(axis_angle):
    """The same rotations by no more than pi."""
    angle = axis_angle.norm(dim=-1, keepdim=True)
    turns = torch.round(angle / (2 * math.pi))
    return axis_angle * (1 - 2 * math.pi * turns / angle.clamp_min(1e-300))


@pytest.mark.case("diffsheg_rotation")
def test_from_axis_angle(case):
    given, expected = case.inputs, case.outputs
    matrix = quaternion_to_matrix(axis_angle_to_quaternion(given["axis_angle"]))
    published = expected["matrix_from_axis_angle"]
    assert_within(matrix[: len(published)], published)
    euler, published = matrix_to_euler(matrix, "XYZ"), expected["euler_from_axis_angle"]
    # Towards gimbal lock any rounding of the matrix is magnified by the cosine's reciprocal, theirs like ours.
    lock = (0.1 / published[..., 1:2].cos()).clamp_min(1)
    assert_within(euler / lock, published / lock)


@pytest.mark.case("diffsheg_rotation")
def test_tiny_angles(case):
    matrix = axis_angle_to_matrix(case.inputs["axis_angle_tiny"])
    assert_within(matrix_to_euler(matrix, "XYZ"), case.outputs["euler_from_tiny"])
    assert_within(matrix_to_axis_angle(matrix), short_way(case.outputs["axis_angle_from_matrix"]))


@pytest.mark.case("diffsheg_rotation")
def test_from_euler(case):
    matrix = euler_to_matrix(case.inputs["euler"], "XYZ")
    assert_within(matrix_to_euler(matrix, "XYZ"), case.outputs["euler_back"])
    assert_within(matrix_to_axis_angle(matrix), short_way(case.outputs["axis_angle_from_euler"]))


@pytest.mark.case("diffsheg_rotation")
def test_axis_angles_to_learn_from(case):
    """Not the short way: means and deviations were taken of these numbers."""
    matrix = euler_to_matrix(case.inputs["euler"], "XYZ")
    assert_within(beat_axis_angle(matrix_to_axis_angle(matrix)), case.outputs["axis_angle_from_euler"])
