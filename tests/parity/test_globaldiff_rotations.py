"""GlobalDiff's conversions, chain of frames and flip: ours where ours agree, the published quirks by name."""

from __future__ import annotations

import pytest
import torch

from cospeech.representations import (
    globaldiff_flip,
    globaldiff_matrix_to_axis_angle,
    globaldiff_rot6d_to_matrix,
)
from cospeech.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rot6d,
    normalize_rot6d,
    rot6d_to_matrix,
)
from cospeech.skeleton import SMPLX, global_to_local, local_to_global


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.case("globaldiff_rotations")
def test_conversions(case):
    given, expected = case.inputs, case.outputs
    matrix = axis_angle_to_matrix(given["axis_angle"])
    assert_within(matrix, expected["matrix"], 1e-6)
    assert_within(matrix_to_rot6d(matrix), expected["rot6d"], 1e-6)
    assert_within(globaldiff_matrix_to_axis_angle(expected["matrix"]), expected["axis_angle_back"], 1e-5)


@pytest.mark.case("globaldiff_rotations")
def test_numpy_conversions(case):
    """The published NumPy route runs in float64, and is exact; so are we."""
    given, expected = case.inputs, case.outputs
    matrix = axis_angle_to_matrix(given["axis_angle"].double())
    assert_within(matrix.float(), expected["matrix_np"], 1e-6)
    assert_within(matrix_to_axis_angle(matrix).float(), expected["axis_angle_back_np"], 1e-5)


@pytest.mark.case("globaldiff_rotations")
def test_rows_that_are_not_orthonormal(case):
    raw, expected = case.inputs["rot6d_raw"], case.outputs
    assert_within(rot6d_to_matrix(raw), expected["matrix_from_raw"], 1e-6)
    assert_within(globaldiff_rot6d_to_matrix(raw), expected["matrix_from_raw_np"], 1e-6)
    assert_within(normalize_rot6d(raw), expected["normalized_raw"], 1e-6)
    back = expected["axis_angle_from_raw"]  # the first rows are degenerate and left out
    # From the published matrix, since the published logarithm magnifies the rounding of its input towards pi.
    assert_within(globaldiff_matrix_to_axis_angle(expected["matrix_from_raw"][-len(back) :]), back, 1e-5)


@pytest.mark.case("globaldiff_local_global")
def test_local_to_global_and_back(case):
    local_axis_angle = case.inputs["local_axis_angle"].unflatten(-1, (-1, 3))
    expected = case.outputs
    global_rotations = local_to_global(axis_angle_to_matrix(local_axis_angle), SMPLX)
    assert_within(global_rotations, expected["global_matrix"], 2e-6)
    local_rotations = global_to_local(expected["global_matrix"], SMPLX)
    assert_within(local_rotations, expected["local_matrix_back"], 2e-6)


@pytest.mark.case("globaldiff_local_global")
def test_numpy_route(case):
    expected = case.outputs
    local_axis_angle = case.inputs["local_axis_angle"].double().unflatten(-1, (-1, 3))
    global_rotations = local_to_global(axis_angle_to_matrix(local_axis_angle), SMPLX)
    assert_within(matrix_to_axis_angle(global_rotations).flatten(-2).float(), expected["global_axis_angle_np"], 1e-5)
    assert_within(matrix_to_rot6d(global_rotations).flatten(-2).float(), expected["rot6d_of_global_np"], 2e-6)

    published = expected["global_axis_angle_np"].double().unflatten(-1, (-1, 3))
    local_rotations = global_to_local(axis_angle_to_matrix(published), SMPLX)
    assert_within(matrix_to_axis_angle(local_rotations).flatten(-2).float(), expected["global_to_local_np"], 1e-5)


@pytest.mark.case("globaldiff_local_global")
def test_torch_route_back(case):
    published = case.outputs["global_axis_angle_np"].unflatten(-1, (-1, 3))
    local_rotations = global_to_local(axis_angle_to_matrix(published), SMPLX)
    back = globaldiff_matrix_to_axis_angle(local_rotations).flatten(-2)
    assert_within(back, case.outputs["local_axis_angle_back"], 1e-5)


@pytest.mark.case("globaldiff_flip")
@pytest.mark.parametrize("frame", ["local", "global"])
def test_flip(case, frame):
    axis_angle = case.inputs[f"{frame}_axis_angle"].unflatten(-1, (-1, 3))
    flipped, translation = globaldiff_flip(axis_angle, case.inputs["trans"])
    assert_within(flipped.flatten(-2), case.outputs[f"{frame}_flipped"], 0)
    assert_within(translation, case.outputs["trans"], 0)
