"""Rot6D: rows and columns pinned, Gram-Schmidt against its slow twin, degenerate rows, gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_rot6d,
    matrix_to_axis_angle,
    matrix_to_rot6d,
    matrix_to_rot6d_columns,
    normalize_rot6d,
    rot6d_columns_to_matrix,
    rot6d_to_axis_angle,
    rot6d_to_matrix,
)


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def slow_gram_schmidt(rot6d):
    first = rot6d[:3] / rot6d[:3].norm()
    second = rot6d[3:] - (first @ rot6d[3:]) * first
    second = second / second.norm()
    return torch.stack([first, second, torch.linalg.cross(first, second)])


def test_rows_and_columns_at_0_6_radians_about_z():
    cos, sin = math.cos(0.6), math.sin(0.6)
    axis_angle = torch.tensor([0, 0, 0.6])
    matrix = axis_angle_to_matrix(axis_angle)
    rows, columns = torch.tensor([cos, -sin, 0, sin, cos, 0]), torch.tensor([cos, sin, 0, -sin, cos, 0])
    torch.testing.assert_close(matrix_to_rot6d(matrix), rows)
    torch.testing.assert_close(matrix_to_rot6d_columns(matrix), columns)
    torch.testing.assert_close(axis_angle_to_rot6d(axis_angle), rows)
    torch.testing.assert_close(rot6d_to_matrix(rows), matrix)
    torch.testing.assert_close(rot6d_columns_to_matrix(columns), matrix)
    torch.testing.assert_close(rot6d_to_axis_angle(rows), axis_angle)


def test_any_two_rows_against_the_slow_twin(generator):
    rot6d = random(generator, 100, 6)
    expected = torch.stack([slow_gram_schmidt(row) for row in rot6d])
    torch.testing.assert_close(rot6d_to_matrix(rot6d), expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(rot6d_columns_to_matrix(rot6d), expected.mT, atol=1e-13, rtol=0)
    torch.testing.assert_close(normalize_rot6d(rot6d), expected[:, :2].flatten(1), atol=1e-13, rtol=0)
    single = rot6d_to_matrix(rot6d.float()).double()
    torch.testing.assert_close(single @ single.mT, torch.eye(3).double().expand(100, 3, 3), atol=5e-6, rtol=0)


def test_laws(generator):
    matrix = axis_angle_to_matrix(random(generator, 50, 3))
    torch.testing.assert_close(rot6d_to_matrix(matrix_to_rot6d(matrix)), matrix, atol=1e-14, rtol=0)
    torch.testing.assert_close(rot6d_columns_to_matrix(matrix_to_rot6d_columns(matrix)), matrix, atol=1e-14, rtol=0)
    torch.testing.assert_close(matrix_to_rot6d_columns(matrix), matrix_to_rot6d(matrix.mT), atol=0, rtol=0)
    axis_angle = matrix_to_axis_angle(matrix)
    torch.testing.assert_close(axis_angle_to_rot6d(axis_angle), matrix_to_rot6d(matrix), atol=1e-14, rtol=0)
    torch.testing.assert_close(rot6d_to_axis_angle(matrix_to_rot6d(matrix)), axis_angle, atol=1e-12, rtol=0)
    rot6d = normalize_rot6d(random(generator, 50, 6))
    torch.testing.assert_close(normalize_rot6d(rot6d), rot6d, atol=1e-14, rtol=0)
    stretched = rot6d * torch.tensor([2.0, 2, 2, 5, 5, 5])
    stretched[:, 3:] += 3 * rot6d[:, :3]
    torch.testing.assert_close(normalize_rot6d(stretched), rot6d, atol=1e-13, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_without_a_direction_come_out_zero_with_finite_gradients(dtype, generator):
    first = torch.randn(100, 3, generator=generator, dtype=dtype)
    zero = torch.zeros_like(first)
    degenerate = {
        "both zero": (torch.cat([zero, zero], -1), (0, 0)),
        "first zero": (torch.cat([zero, first], -1), (0, 1)),
        "second zero": (torch.cat([first, zero], -1), (1, 0)),
        "equal": (torch.cat([first, first], -1), (1, 0)),
        "parallel": (torch.cat([first, -3.7 * first], -1), (1, 0)),
    }
    for rot6d, lengths in degenerate.values():
        rot6d.requires_grad_()
        rows = normalize_rot6d(rot6d)
        found = rows.unflatten(-1, (2, 3)).norm(dim=-1)
        torch.testing.assert_close(found, torch.tensor(lengths, dtype=dtype).expand(100, 2))
        matrix = rot6d_to_matrix(rot6d)
        torch.testing.assert_close(matrix[:, :2].flatten(1), rows, atol=0, rtol=0)
        assert (matrix[:, 2] == 0).all()
        total = (rows * torch.arange(1, 7)).sum() + matrix.square().sum() + rot6d_to_axis_angle(rot6d).sum()
        (gradient,) = torch.autograd.grad(total, rot6d)
        assert torch.isfinite(gradient).all()


def test_gradients(generator):
    rot6d = random(generator, 4, 6).requires_grad_()
    for function in (rot6d_to_matrix, rot6d_columns_to_matrix, normalize_rot6d, rot6d_to_axis_angle):
        assert gradcheck(function, rot6d)
        assert gradgradcheck(function, rot6d)
    for size in (0.0, 1e-8, 1e-3, 2.0):
        axis_angle = (size * random(generator, 4, 3)).requires_grad_()
        assert gradcheck(axis_angle_to_rot6d, axis_angle)
    matrix = axis_angle_to_matrix(random(generator, 4, 3)).requires_grad_()
    assert gradcheck(matrix_to_rot6d, matrix)
    assert gradcheck(matrix_to_rot6d_columns, matrix)


def test_wrong_shapes_are_told():
    for function in (rot6d_to_matrix, rot6d_columns_to_matrix, rot6d_to_axis_angle, normalize_rot6d):
        with pytest.raises(ValueError, match=r"`rot6d` must have shape \(\.\.\., 6\); got \(2, 3\)"):
            function(torch.zeros(2, 3))
    for function in (matrix_to_rot6d, matrix_to_rot6d_columns):
        with pytest.raises(ValueError, match=r"`matrix` must have shape \(\.\.\., 3, 3\)"):
            function(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`axis_angle` must have shape"):
        axis_angle_to_rot6d(torch.zeros(6))
