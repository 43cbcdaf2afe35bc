"""Geodesic distance: a metric, exact at 0 and pi, with gradients of length one."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from cospeech.rotations import axis_angle_to_matrix, geodesic_distance

ANGLES = [1e-8, 1e-5, 1e-3, 0.6, math.pi / 2 - 1e-3, math.pi / 2 + 1e-3, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi]


def pairs(angle, generator, count=500):
    base = axis_angle_to_matrix(torch.randn(count, 3, generator=generator, dtype=torch.float64))
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    return base, base @ axis_angle_to_matrix(angle * axis)


@pytest.mark.parametrize("angle", ANGLES)
def test_it_is_the_angle(angle, generator):
    first, second = pairs(angle, generator)
    distance = geodesic_distance(first, second)
    torch.testing.assert_close(distance, torch.full_like(distance, angle), atol=2e-15, rtol=1e-15)
    # In float32 the angle between the rounded matrices is another one; theirs is found to rounding.
    first, second = first.float(), second.float()
    found = geodesic_distance(first, second).double()
    assert (found - geodesic_distance(first.double(), second.double())).abs().max() <= 5e-7 * max(angle, 1e-8)


def test_metric_laws(generator):
    a, b, c = (axis_angle_to_matrix(torch.randn(200, 3, generator=generator)) for _ in range(3))
    assert (geodesic_distance(a, a) == 0).all()
    torch.testing.assert_close(geodesic_distance(a, b), geodesic_distance(b, a))
    torch.testing.assert_close(geodesic_distance(c @ a, c @ b), geodesic_distance(a, b), atol=2e-6, rtol=0)
    assert (geodesic_distance(a, c) <= geodesic_distance(a, b) + geodesic_distance(b, c) + 1e-6).all()
    assert geodesic_distance(a[:1], b).shape == (200,)
    assert (geodesic_distance(a, b) <= math.pi + 1e-6).all()


@pytest.mark.parametrize("angle", [angle for angle in ANGLES if 1e-5 < angle < math.pi - 1e-4])
def test_gradients(angle, generator):
    first, second = (x.requires_grad_() for x in pairs(angle, generator, 3))
    assert gradcheck(geodesic_distance, (first, second), eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [angle for angle in ANGLES if angle < math.pi - 1e-4])
def test_turning_on_raises_the_distance_as_fast(angle, dtype, generator):
    axis = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=dtype), dim=-1)
    identity = torch.eye(3, dtype=dtype)
    turn = (angle * axis).requires_grad_()
    (gradient,) = torch.autograd.grad(geodesic_distance(identity, axis_angle_to_matrix(turn)).sum(), turn)
    torch.testing.assert_close(gradient, axis, atol=2e-6 if dtype == torch.float32 else 1e-8, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_kinks_gradients_are_zero_or_finite(dtype, generator):
    base = axis_angle_to_matrix(torch.randn(50, 3, generator=generator, dtype=dtype)).requires_grad_()
    for gradient in torch.autograd.grad(geodesic_distance(base, base.detach().clone().requires_grad_()).sum(), [base]):
        assert (gradient == 0).all()
    flip = torch.diag(torch.tensor([1.0, -1, -1], dtype=dtype)).requires_grad_()
    (gradient,) = torch.autograd.grad(geodesic_distance(torch.eye(3, dtype=dtype), flip), flip)
    assert (gradient == 0).all()
    (gradient,) = torch.autograd.grad(geodesic_distance(base.detach() @ flip.detach(), base).sum(), base)
    assert torch.isfinite(gradient).all()


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"`first` must have shape \(\.\.\., 3, 3\); got \(3,\)"):
        geodesic_distance(torch.zeros(3), torch.eye(3))
    with pytest.raises(ValueError, match=r"`second` must have shape"):
        geodesic_distance(torch.eye(3), torch.zeros(3))
