"""Euler angles: the twelve orders against SciPy, gimbal lock, gradients."""

import math
from itertools import product

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from cospeech.rotations import axis_angle_to_matrix, euler_to_matrix, matrix_to_euler

ORDERS = ["".join(axes) for axes in product("XYZ", repeat=3) if axes[0] != axes[1] != axes[2]]
each_order = pytest.mark.parametrize("order", ORDERS)


def middle_range(order):
    return (0.0, math.pi) if order[0] == order[2] else (-math.pi / 2, math.pi / 2)


def test_the_product_in_the_written_order():
    a, b, c = (axis_angle_to_matrix(v) for v in torch.tensor([[0, 0, 0.6], [0.4, 0, 0], [0, 0.2, 0]]))
    torch.testing.assert_close(euler_to_matrix(torch.tensor([0.6, 0.4, 0.2]), "ZXY"), a @ b @ c)
    torch.testing.assert_close(matrix_to_euler(a @ b @ c, "ZXY"), torch.tensor([0.6, 0.4, 0.2]))


def test_there_are_twelve_orders():
    assert len(ORDERS) == 12


@each_order
def test_scipy_agrees_and_angles_come_back(order, generator):
    low, high = middle_range(order)
    angles = (torch.rand(500, 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * math.pi
    angles[:, 1] = low + (high - low) * torch.rand(500, generator=generator, dtype=torch.float64)
    matrix = euler_to_matrix(angles, order)
    expected = torch.from_numpy(Rotation.from_euler(order, angles.numpy()).as_matrix())
    torch.testing.assert_close(matrix, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(matrix_to_euler(matrix, order), angles, atol=1e-10, rtol=0)
    single = matrix_to_euler(matrix.float(), order)
    torch.testing.assert_close(euler_to_matrix(single.double(), order), matrix, atol=1e-6, rtol=0)


@each_order
@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-8, 1e-4])
def test_at_and_near_gimbal_lock_the_angles_give_the_matrix_back(order, distance, generator):
    low, high = middle_range(order)
    angles = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    angles[:100, 1], angles[100:, 1] = low + distance, high - distance
    matrix = euler_to_matrix(angles, order)
    torch.testing.assert_close(euler_to_matrix(matrix_to_euler(matrix, order), order), matrix, atol=1e-14, rtol=0)
    single = matrix_to_euler(matrix.float(), order)
    torch.testing.assert_close(euler_to_matrix(single.double(), order), matrix, atol=1e-6, rtol=0)


@each_order
def test_in_exact_gimbal_lock_the_first_angle_is_zero_and_gradients_are_finite(order):
    # Signed permutations: some of them are in lock for every order, and all of them are exact.
    turns = torch.tensor(list(product([0.0, math.pi / 2, math.pi], repeat=3)), dtype=torch.float64)
    matrix = euler_to_matrix(turns, order).round().requires_grad_()
    angles = matrix_to_euler(matrix, order)
    locked = (angles[:, 1:2] - torch.tensor([middle_range(order)])).abs().amin(-1) < 1e-6
    assert locked.any()
    assert (angles[locked, 0] == 0).all()
    torch.testing.assert_close(euler_to_matrix(angles, order), matrix, atol=1e-14, rtol=0)
    (gradient,) = torch.autograd.grad(angles.sum(), matrix)
    assert torch.isfinite(gradient).all()


@each_order
def test_gradients(order, generator):
    angles = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: euler_to_matrix(x, order), angles)
    matrix = euler_to_matrix(angles, order).detach().requires_grad_()
    assert gradcheck(lambda x: matrix_to_euler(x, order), matrix, atol=1e-4)


@pytest.mark.parametrize("order", ["XXY", "XYY", "xyz", "XY", "XYZX", "XYW", ""])
def test_wrong_orders_are_told(order):
    with pytest.raises(ValueError, match="`order` must be three of X, Y, Z, neighbours different"):
        euler_to_matrix(torch.zeros(3), order)
    with pytest.raises(ValueError, match="`order` must be three of X, Y, Z"):
        matrix_to_euler(torch.eye(3), order)


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"`angles` must have shape \(\.\.\., 3\)"):
        euler_to_matrix(torch.zeros(4), "XYZ")
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(\.\.\., 3, 3\)"):
        matrix_to_euler(torch.zeros(3), "XYZ")
