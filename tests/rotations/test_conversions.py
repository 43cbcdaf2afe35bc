"""Axis-angle, quaternion, matrix: against SciPy in float64, at the hard angles, in both directions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck, gradgradcheck

from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
)

HARD_ANGLES = [0.0, 1e-8, 1e-5, 1e-3, 1.0, math.pi / 2, 2.5, math.pi - 1e-6, math.pi]
FLOAT32_ERROR = 5e-7
anywhere = st.tuples(*[st.floats(-4, 4)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))


def axes(count: int, generator: torch.Generator) -> torch.Tensor:
    """Unit axes in float64, the coordinate axes among them."""
    drawn = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    return torch.cat([torch.nn.functional.normalize(drawn, dim=-1), eye, -eye])


def scipy_matrix(axis_angle: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(Rotation.from_rotvec(axis_angle.double().numpy()).as_matrix())


def largest(x: torch.Tensor) -> float:
    return x.double().abs().max().item()


def test_0_6_radians_about_z_turn_x_towards_y():
    x, turned = torch.tensor([1.0, 0, 0]), torch.tensor([math.cos(0.6), math.sin(0.6), 0])
    axis_angle = torch.tensor([0, 0, 0.6])
    quaternion = torch.tensor([math.cos(0.3), 0, 0, math.sin(0.3)])
    matrix = axis_angle_to_matrix(axis_angle)
    torch.testing.assert_close(matrix @ x, turned)
    torch.testing.assert_close(axis_angle_to_quaternion(axis_angle), quaternion)
    torch.testing.assert_close(quaternion_to_matrix(quaternion), matrix)
    torch.testing.assert_close(matrix_to_quaternion(matrix), quaternion)
    torch.testing.assert_close(matrix_to_axis_angle(matrix), axis_angle)


@pytest.mark.parametrize("angle", [*HARD_ANGLES, None])
def test_float32_is_within_rounding_of_scipy_in_float64(angle, generator):
    size = torch.rand(20_006, 1, generator=generator, dtype=torch.float64) * math.pi if angle is None else angle
    axis_angle = (axes(20_000, generator) * size).float()
    matrix = scipy_matrix(axis_angle)
    assert largest(axis_angle_to_matrix(axis_angle) - matrix) <= FLOAT32_ERROR

    quaternion = axis_angle_to_quaternion(axis_angle)
    assert largest(quaternion_to_matrix(quaternion) - matrix) <= FLOAT32_ERROR
    from_quaternion = torch.from_numpy(Rotation.from_quat(quaternion[:, [1, 2, 3, 0]].double().numpy()).as_matrix())
    assert largest(quaternion_to_matrix(quaternion) - from_quaternion) <= FLOAT32_ERROR

    rounded = matrix.float()
    assert largest(quaternion_to_matrix(matrix_to_quaternion(rounded)) - matrix) <= FLOAT32_ERROR
    back = matrix_to_axis_angle(rounded)
    assert largest(scipy_matrix(back) - matrix) <= FLOAT32_ERROR
    if angle != 0:
        length = axis_angle.double().norm(dim=-1)
        assert largest(back.double().norm(dim=-1) / length - 1) <= 3e-7
        assert largest(quaternion_to_axis_angle(quaternion).double().norm(dim=-1) / length - 1) <= 3e-7


@settings(deadline=None, max_examples=50)
@given(anywhere)
def test_there_and_back_in_float64(axis_angle):
    matrix = axis_angle_to_matrix(axis_angle)
    assert largest(matrix - scipy_matrix(axis_angle)) < 2e-15
    assert largest(quaternion_to_matrix(axis_angle_to_quaternion(axis_angle)) - matrix) < 2e-15
    assert largest(quaternion_to_matrix(matrix_to_quaternion(matrix)) - matrix) < 2e-15
    assert largest(axis_angle_to_matrix(matrix_to_axis_angle(matrix)) - matrix) < 4e-15
    if axis_angle.norm() < math.pi - 1e-3:
        assert largest(matrix_to_axis_angle(matrix) - axis_angle) < 1e-12
        assert largest(quaternion_to_axis_angle(axis_angle_to_quaternion(axis_angle)) - axis_angle) < 1e-12


def test_a_quaternion_and_its_negative_are_one_rotation(generator):
    quaternion = torch.randn(100, 4, generator=generator)
    torch.testing.assert_close(quaternion_to_matrix(-quaternion), quaternion_to_matrix(quaternion))
    torch.testing.assert_close(quaternion_to_axis_angle(-quaternion), quaternion_to_axis_angle(quaternion))
    assert quaternion_to_axis_angle(quaternion).norm(dim=-1).max() <= math.pi + 1e-6
    assert (matrix_to_quaternion(quaternion_to_matrix(quaternion))[:, 0] >= 0).all()


def test_the_length_of_a_quaternion_has_no_influence(generator):
    quaternion = torch.randn(100, 4, generator=generator)
    torch.testing.assert_close(quaternion_to_matrix(3 * quaternion), quaternion_to_matrix(quaternion))
    torch.testing.assert_close(quaternion_to_axis_angle(3 * quaternion), quaternion_to_axis_angle(quaternion))


@pytest.mark.parametrize("angle", HARD_ANGLES)
def test_gradients_and_second_derivatives_to_matrix_and_quaternion(angle, generator):
    axis_angle = (axes(3, generator) * angle).requires_grad_()
    for function in (axis_angle_to_matrix, axis_angle_to_quaternion):
        assert gradcheck(function, axis_angle)
        assert gradgradcheck(function, axis_angle)
    quaternion = axis_angle_to_quaternion(axis_angle).detach().requires_grad_()
    assert gradcheck(quaternion_to_matrix, quaternion)
    assert gradgradcheck(quaternion_to_matrix, quaternion)


@pytest.mark.parametrize("angle", [angle for angle in HARD_ANGLES if angle < math.pi])
def test_gradients_and_second_derivatives_of_logarithms(angle, generator):
    # Not about the coordinate axes: there two of the four formulas tie, which differ off the rotations.
    axis_angle = axes(5, generator)[:5] * angle
    matrix = axis_angle_to_matrix(axis_angle).requires_grad_()
    quaternion = axis_angle_to_quaternion(axis_angle).requires_grad_()
    step = 1e-6 if angle < 3.1 else 1e-8  # numerical steps must not cross the cut at pi
    for function, x in (
        (matrix_to_axis_angle, matrix),
        (matrix_to_quaternion, matrix),
        (quaternion_to_axis_angle, quaternion),
    ):
        assert gradcheck(function, x, eps=step, atol=1e-5 if angle < 3.1 else 1e-4)
    if angle < 3.1:
        assert gradgradcheck(matrix_to_axis_angle, matrix)
        assert gradgradcheck(quaternion_to_axis_angle, quaternion)


def test_gradients_at_pi_undo_each_other(generator):
    """The axis may point either way at pi, so numbers cannot check the logarithm there; its inverse can."""
    axis_angle = axes(20, generator) * math.pi
    matrix = axis_angle_to_matrix(axis_angle)

    def there_and_back(v):
        return axis_angle_to_matrix(matrix_to_axis_angle(axis_angle_to_matrix(v)))

    there = torch.func.vmap(torch.func.jacrev(axis_angle_to_matrix))(axis_angle)
    both = torch.func.vmap(torch.func.jacrev(there_and_back))(axis_angle)
    torch.testing.assert_close(there_and_back(axis_angle), matrix, atol=1e-14, rtol=0)
    torch.testing.assert_close(both, there, atol=1e-12, rtol=0)


@pytest.mark.parametrize("angle", HARD_ANGLES)
@pytest.mark.parametrize(
    "function", [axis_angle_to_matrix, axis_angle_to_quaternion, matrix_to_axis_angle, quaternion_to_axis_angle]
)
def test_float32_gradients_are_those_of_float64(function, angle, generator):
    x = (axes(1000, generator) * angle).float()
    if function is matrix_to_axis_angle:
        # The same branch for both precisions, also where the axis at pi is free.
        x = axis_angle_to_matrix(x)
    if function is quaternion_to_axis_angle:
        x = axis_angle_to_quaternion(x)
    grad = torch.randn(function(x).shape, generator=generator)
    single, double = x.clone().requires_grad_(), x.double().requires_grad_()
    (expected,) = torch.autograd.grad(function(double), double, grad.double())
    (found,) = torch.autograd.grad(function(single), single, grad)
    assert torch.isfinite(found).all()
    assert largest(found - expected) <= 1e-6 * max(1.0, largest(expected))


def test_wrong_shapes_and_types_are_told():
    with pytest.raises(ValueError, match=r"`axis_angle` must have shape \(\.\.\., 3\); got \(2, 4\)"):
        axis_angle_to_matrix(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"`axis_angle` must have shape"):
        axis_angle_to_quaternion(torch.zeros(4))
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(\.\.\., 3, 3\); got \(9,\)"):
        matrix_to_axis_angle(torch.zeros(9))
    with pytest.raises(ValueError, match=r"`matrix` must have shape"):
        matrix_to_quaternion(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"`quaternion` must have shape"):
        quaternion_to_matrix(torch.zeros(3))
    with pytest.raises(ValueError, match=r"`quaternion` must have shape"):
        quaternion_to_axis_angle(torch.zeros(()))
    with pytest.raises(TypeError, match=r"must be floating-point tensors; got torch\.int64"):
        axis_angle_to_matrix(torch.zeros(3, dtype=torch.int64))


def test_scipy_and_numpy_see_the_same_real_part(generator):
    matrix = axis_angle_to_matrix(torch.randn(50, 3, generator=generator, dtype=torch.float64))
    expected = Rotation.from_matrix(matrix.numpy()).as_quat(canonical=True)[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(matrix_to_quaternion(matrix).numpy(), expected, atol=1e-14)
