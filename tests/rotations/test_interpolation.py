"""exp, log, slerp and mean: laws, SciPy, hard spots, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck, gradgradcheck

from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    exp_map,
    geodesic_distance,
    log_map,
    mean_rotation,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    slerp,
)

vectors = st.tuples(*[st.floats(-4, 4)] * 3).map(lambda v: torch.tensor(v, dtype=torch.float64))


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def close(a, b, atol=1e-13):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@settings(deadline=None, max_examples=40)
@given(vectors, vectors, st.floats(0, 1))
def test_slerp_is_the_geodesic(start, end, weight):
    a, b = axis_angle_to_matrix(start), axis_angle_to_matrix(end)
    if geodesic_distance(a, b) > math.pi - 1e-6:
        return  # two shortest ways
    between = quaternion_to_matrix(slerp(axis_angle_to_quaternion(start), axis_angle_to_quaternion(end), weight))
    close(between, exp_map(weight * log_map(b, base=a), base=a), atol=1e-9)
    close(geodesic_distance(a, between), weight * geodesic_distance(a, b), atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(vectors, vectors)
def test_log_undoes_exp(base, tangent):
    base = axis_angle_to_matrix(base)
    close(exp_map(log_map(exp_map(tangent, base), base), base), exp_map(tangent, base))
    if tangent.norm() < math.pi - 1e-6:
        close(log_map(exp_map(tangent, base), base), tangent, atol=1e-8)
    close(log_map(exp_map(tangent)), log_map(exp_map(tangent), torch.eye(3).double()), atol=0)


def test_slerp_starts_and_ends_exactly(generator):
    start, end = (axis_angle_to_quaternion(torch.randn(100, 3, generator=generator) * 2) for _ in range(2))
    end = torch.cat([end[:50], -end[50:]])
    nearer = torch.where((start * end).sum(-1, keepdim=True) < 0, -end, end)
    close(slerp(start, end, 0.0), start, atol=0)
    close(slerp(start, end, 1.0), nearer, atol=0)
    close(slerp(start, -end, 0.3), slerp(start, end, 0.3), atol=0)
    close(slerp(start, -start, 0.7), start, atol=1e-7)
    weight = torch.rand(100, generator=generator)
    close(slerp(start, end, weight).norm(dim=-1), torch.ones(100), atol=5e-7)


def test_slerp_turns_steadily_also_beyond_its_ends_and_over_half_a_turn():
    weight = torch.tensor([-0.5, 0, 0.25, 0.5, 1, 1.5], dtype=torch.float64)
    for angle in (1e-8, 1e-3, 0.6, math.pi - 1e-6, math.pi):
        axis_angle = torch.tensor([0, 0, angle], dtype=torch.float64)
        start = torch.tensor([1, 0, 0, 0], dtype=torch.float64)
        found = quaternion_to_matrix(slerp(start, axis_angle_to_quaternion(axis_angle), weight))
        close(found, axis_angle_to_matrix(weight[:, None] * axis_angle), atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-5, 1e-3, 1.0, 3.0])
def test_slerp_gradients(angle, generator):
    start = axis_angle_to_quaternion(random(generator, 3, 3))
    axis = torch.nn.functional.normalize(random(generator, 3, 3), dim=-1)
    end = axis_angle_to_quaternion(quaternion_to_axis_angle(start) + 0.9 * angle * axis)
    weight = torch.tensor([0, 0.3, 1], dtype=torch.float64)
    arguments = tuple(x.requires_grad_() for x in (start, end, weight))
    assert gradcheck(slerp, arguments, atol=1e-5)
    grad = random(generator, 3, 4)
    expected = torch.autograd.grad(slerp(*arguments), arguments, grad)
    single = tuple(x.detach().float().requires_grad_() for x in arguments)
    found = torch.autograd.grad(slerp(*single), single, grad.float())
    for one, other in zip(found, expected, strict=True):
        close(one.double(), other, atol=3e-6)


def test_exp_and_log_gradients_with_a_base(generator):
    base = axis_angle_to_matrix(random(generator, 3, 3)).requires_grad_()
    tangent = (torch.tensor([[0.0], [1e-6], [1.0]]) * random(generator, 3, 3)).requires_grad_()
    assert gradcheck(exp_map, (tangent, base))
    assert gradgradcheck(exp_map, (tangent, base))
    matrix = exp_map(tangent, base).detach().requires_grad_()
    assert gradcheck(log_map, (matrix, base))


def test_mean_agrees_with_scipy(generator):
    matrix, weight = axis_angle_to_matrix(random(generator, 20, 3)), torch.rand(20, generator=generator).double()
    scipy = Rotation.from_matrix(matrix.numpy())
    close(mean_rotation(matrix), torch.from_numpy(scipy.mean().as_matrix()))
    close(mean_rotation(matrix, weight), torch.from_numpy(scipy.mean(weight.numpy()).as_matrix()))


def test_mean_laws(generator):
    base = axis_angle_to_matrix(random(generator, 2, 1, 3))
    group = axis_angle_to_matrix(random(generator, 2, 7, 3))
    mean = mean_rotation(group)
    assert mean.shape == (2, 3, 3)
    close(mean_rotation(base @ group), base.squeeze(1) @ mean)
    close(mean_rotation(group.flip(1)), mean)
    close(mean_rotation(base.expand(2, 5, 3, 3)), base.squeeze(1))
    close(mean_rotation(group, 3 * torch.ones(7).double()), mean)
    pair = group[:, :2]
    half_way = exp_map(0.5 * log_map(pair[:, 1], base=pair[:, 0]), base=pair[:, 0])
    close(mean_rotation(pair), half_way, atol=1e-12)
    assert mean_rotation(group.to(torch.bfloat16)).dtype == torch.bfloat16
    assert mean_rotation(group[:0]).shape == (0, 3, 3)


def test_mean_gradients_also_of_equal_rotations(generator):
    axis_angle, weight = random(generator, 2, 5, 3).requires_grad_(), torch.rand(5, generator=generator).double()

    def mean(v, w):
        return mean_rotation(axis_angle_to_matrix(v), w)

    assert gradcheck(mean, (axis_angle, weight.requires_grad_()))
    equal = axis_angle[:, :1].detach().expand(2, 5, 3).clone().requires_grad_()
    assert gradcheck(mean, (equal, weight))
    assert gradgradcheck(mean, (axis_angle, weight))
    not_unique = axis_angle_to_matrix(math.pi * torch.eye(3)).requires_grad_()
    (gradient,) = torch.autograd.grad(mean_rotation(not_unique).sum(), not_unique)
    assert torch.isfinite(gradient).all()


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"`base` must have shape \(\.\.\., 3, 3\)"):
        exp_map(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"`base` must have shape"):
        log_map(torch.eye(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"`end` must have shape \(\.\.\., 4\)"):
        slerp(torch.zeros(4), torch.zeros(3), 0.5)
    with pytest.raises(TypeError, match="floating-point"):
        slerp(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 0.5)
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(\.\.\., N, 3, 3\)"):
        mean_rotation(torch.eye(3))
    with pytest.raises(ValueError, match="at least one rotation"):
        mean_rotation(torch.zeros(2, 0, 3, 3))
