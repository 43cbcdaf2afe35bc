"""EMAGE's conversions: ours where ours agree, the published quirks by name."""

from __future__ import annotations

import re

import pytest
import torch

from cospeech.representations import old_pytorch3d_matrix_to_quaternion, pytorch3d_quaternion_to_axis_angle
from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_rot6d,
    rot6d_to_matrix,
)


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def published_axis_angle(matrix):
    return pytorch3d_quaternion_to_axis_angle(old_pytorch3d_matrix_to_quaternion(matrix))


def row_groups(case):
    """Rows by kind, read from the case's own description, for the tolerances differ."""
    text = case.settings["rows_axis_angle"]
    found = re.findall(r"(\d+)\.\.(\d*) ([^;]+)", text)
    assert [kind.split()[0] for *_, kind in found] == ["generic", "angle", "just", "just", "angle", "special", "real"]
    return [slice(int(first), int(last) + 1 if last else None) for first, last, _ in found]


@pytest.mark.case("emage_rotations")
def test_forward(case):
    given, expected = case.inputs, case.outputs
    assert_within(axis_angle_to_quaternion(given["axis_angle"]), expected["quaternion"], 1e-6)
    matrix = axis_angle_to_matrix(given["axis_angle"])
    assert_within(matrix, expected["matrix"], 1e-6)
    assert_within(matrix_to_rot6d(matrix), expected["rot6d"], 1e-6)


@pytest.mark.case("emage_rotations")
def test_quaternion_from_matrix(case):
    quaternion = old_pytorch3d_matrix_to_quaternion(case.outputs["matrix"])
    assert_within(quaternion, case.outputs["quaternion_from_matrix"], 1e-6)


@pytest.mark.case("emage_rotations")
def test_axis_angle_from_rot6d(case):
    expected = case.outputs["axis_angle_from_rot6d"]
    actual = published_axis_angle(rot6d_to_matrix(case.outputs["rot6d"]))
    generic, small, below_pi, above_pi, beyond, special, real = row_groups(case)
    for rows in (generic, beyond, real):
        assert_within(actual[rows], expected[rows], 2e-4)
    assert_within(actual[small], expected[small], 1e-3)
    # Near pi the axis is noise and its sign free: compare what it does.
    for rows in (below_pi, above_pi):
        assert_within(axis_angle_to_matrix(actual[rows]), axis_angle_to_matrix(expected[rows]), 1e-3)
    # Of the special rows the first five are as small as the others, the next five turn by pi.
    small, near_pi, rest = (slice(special.start + a, special.start + b) for a, b in ((0, 5), (5, 10), (10, 14)))
    assert_within(axis_angle_to_matrix(actual[near_pi]), axis_angle_to_matrix(expected[near_pi]), 1e-3)
    for rows in (small, rest):
        assert_within(actual[rows], expected[rows], 2e-4)


@pytest.mark.case("emage_rotations")
def test_rows_that_are_not_orthonormal(case):
    raw, expected = case.inputs["rot6d_raw"], case.outputs
    matrix = rot6d_to_matrix(raw)
    assert_within(matrix, expected["matrix_from_raw"], 1e-6)
    assert_within(published_axis_angle(matrix), expected["axis_angle_from_raw"], 2e-4)


@pytest.mark.case("emage_rotations")
def test_euler(case):
    euler, expected = case.inputs["euler"], case.outputs
    matrix = euler_to_matrix(euler, "XYZ")
    assert_within(matrix, expected["matrix_from_euler_xyz"], 1e-6)
    assert_within(euler_to_matrix(euler, "ZXY"), expected["matrix_from_euler_zxy"], 1e-6)
    assert_within(matrix_to_euler(matrix, "XYZ"), expected["euler_xyz_from_matrix"], 1e-5)
