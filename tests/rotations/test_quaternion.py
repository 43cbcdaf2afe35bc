"""Quaternion arithmetic: against matrices, against SciPy, and its gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from cospeech.rotations import (
    axis_angle_to_quaternion,
    quaternion_apply,
    quaternion_conjugate,
    quaternion_multiply,
    quaternion_to_matrix,
)

rotations = st.tuples(*[st.floats(-4, 4)] * 3).map(
    lambda v: axis_angle_to_quaternion(torch.tensor(v, dtype=torch.float64))
)


def test_i_j_is_k_and_z_turns_x_to_y():
    one, i, j, k = torch.eye(4)
    torch.testing.assert_close(quaternion_multiply(i, j), k)
    torch.testing.assert_close(quaternion_multiply(j, i), -k)
    torch.testing.assert_close(quaternion_multiply(k, k), -one)
    turn = torch.tensor([math.cos(0.3), 0, 0, math.sin(0.3)])
    torch.testing.assert_close(
        quaternion_apply(turn, torch.tensor([1.0, 0, 0])), torch.tensor([math.cos(0.6), math.sin(0.6), 0])
    )


@settings(deadline=None, max_examples=50)
@given(rotations, rotations, rotations)
def test_the_product_is_that_of_the_matrices(a, b, c):
    product = quaternion_multiply(a, b)
    expected = quaternion_to_matrix(a) @ quaternion_to_matrix(b)
    torch.testing.assert_close(quaternion_to_matrix(product), expected, atol=1e-14, rtol=0)
    left, right = quaternion_multiply(product, c), quaternion_multiply(a, quaternion_multiply(b, c))
    torch.testing.assert_close(left, right, atol=1e-14, rtol=0)
    identity = torch.tensor([1, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(quaternion_multiply(a, quaternion_conjugate(a)), identity, atol=1e-14, rtol=0)


def test_applying_is_multiplying_by_the_matrix(generator):
    quaternion = axis_angle_to_quaternion(torch.randn(50, 3, generator=generator, dtype=torch.float64))
    vector = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    expected = (quaternion_to_matrix(quaternion) @ vector[..., None]).squeeze(-1)
    torch.testing.assert_close(quaternion_apply(quaternion, vector), expected, atol=1e-14, rtol=0)
    back = quaternion_apply(quaternion_conjugate(quaternion), expected)
    torch.testing.assert_close(back, vector, atol=1e-14, rtol=0)


def test_gradients(generator):
    a, b = (torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    vector = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    for function, arguments in ((quaternion_multiply, (a, b)), (quaternion_apply, (a, vector))):
        assert gradcheck(function, arguments)
        assert gradgradcheck(function, arguments)
    assert gradcheck(quaternion_conjugate, a)


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"`right` must have shape \(\.\.\., 4\); got \(3,\)"):
        quaternion_multiply(torch.zeros(4), torch.zeros(3))
    with pytest.raises(ValueError, match=r"`vector` must have shape \(\.\.\., 3\)"):
        quaternion_apply(torch.zeros(4), torch.zeros(4))
    with pytest.raises(ValueError, match=r"`quaternion` must have shape"):
        quaternion_conjugate(torch.zeros(3))
    with pytest.raises(ValueError, match=r"Leading axes must broadcast; got columns of shapes \(2, 4\) and \(3, 3\)"):
        quaternion_apply(torch.zeros(2, 4), torch.zeros(3, 3))
