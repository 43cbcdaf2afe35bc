"""Each quirk: the same as ours where it does no harm, and the harm that it is documented to do."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.representations import (
    globaldiff_matrix_to_axis_angle,
    globaldiff_rot6d_to_matrix,
    old_pytorch3d_matrix_to_quaternion,
    pytorch3d_quaternion_to_axis_angle,
)
from cospeech.rotations import axis_angle_to_matrix, axis_angle_to_quaternion, rot6d_to_matrix

AXES = torch.nn.functional.normalize(
    torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1
)


@pytest.mark.parametrize("angle", [0.05, 1.0, 2.0, 3.0])
def test_all_are_right_at_ordinary_angles(angle):
    axis_angle = AXES * angle
    matrix = axis_angle_to_matrix(axis_angle)
    torch.testing.assert_close(globaldiff_matrix_to_axis_angle(matrix), axis_angle, rtol=1e-6, atol=1e-6)
    quaternion = old_pytorch3d_matrix_to_quaternion(matrix)
    torch.testing.assert_close(quaternion, axis_angle_to_quaternion(axis_angle), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pytorch3d_quaternion_to_axis_angle(quaternion), axis_angle, rtol=1e-6, atol=1e-6)


def test_globaldiff_never_reaches_pi():
    along_x = torch.tensor([[angle, 0.0, 0.0] for angle in (3.1275, 3.1315, 3.14, math.pi)], dtype=torch.float64)
    back = globaldiff_matrix_to_axis_angle(axis_angle_to_matrix(along_x))
    assert back[:, 0].max() < 3.12746
    turned = globaldiff_matrix_to_axis_angle(axis_angle_to_matrix(AXES * 3.1315))
    assert (turned - AXES * 3.1315).abs().max() > 0.005


def test_globaldiff_keeps_small_rotations():
    tiny = AXES * 1e-4
    back = globaldiff_matrix_to_axis_angle(axis_angle_to_matrix(tiny))
    torch.testing.assert_close(back, tiny, rtol=1e-4, atol=0)


def test_globaldiff_rot6d_shortens_tiny_rows():
    raw = torch.randn(20, 6, dtype=torch.float64)
    torch.testing.assert_close(globaldiff_rot6d_to_matrix(raw), rot6d_to_matrix(raw), rtol=0, atol=1e-10)
    assert globaldiff_rot6d_to_matrix(raw * 1e-12)[:, 0].norm(dim=-1).max() < 0.9
    assert torch.equal(globaldiff_rot6d_to_matrix(torch.zeros(6)), torch.zeros(3, 3))


def test_old_pytorch3d_loses_small_angles_in_float32():
    axis_angle = AXES.float() * 1e-4
    back = pytorch3d_quaternion_to_axis_angle(old_pytorch3d_matrix_to_quaternion(axis_angle_to_matrix(axis_angle)))
    assert back.abs().max() == 0


def test_old_pytorch3d_takes_a_zero_difference_for_positive():
    half_turn = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    w, x, y, z = old_pytorch3d_matrix_to_quaternion(half_turn).tolist()
    assert (w, z) == (0, 0)
    assert x > 0
    assert y > 0  # the true axis has x and y of different sign


def test_pytorch3d_goes_the_long_way_round():
    quaternion = axis_angle_to_quaternion(AXES * 5.0)
    torch.testing.assert_close(pytorch3d_quaternion_to_axis_angle(quaternion), AXES * 5.0)
    tiny = AXES * 1e-8
    torch.testing.assert_close(pytorch3d_quaternion_to_axis_angle(axis_angle_to_quaternion(tiny)), tiny)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(\.\.\., 3, 3\)"):
        globaldiff_matrix_to_axis_angle(torch.zeros(3))
    with pytest.raises(ValueError, match=r"`quaternion` must have shape \(\.\.\., 4\)"):
        pytorch3d_quaternion_to_axis_angle(torch.zeros(3))
