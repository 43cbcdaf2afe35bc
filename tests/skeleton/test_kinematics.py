"""Kinematics by tree levels, against the ten-line loop over joints, and the laws between the functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smplx.lbs import batch_rigid_transform
from torch import Tensor

from cospeech.skeleton import (
    SMPL22,
    SMPLX,
    Skeleton,
    _differentiable,
    forward_kinematics,
    forward_kinematics_global,
    global_to_local,
    local_to_global,
)

ROOT_ALONE = SMPLX.subset(["pelvis"])
SKELETONS = {"smplx": SMPLX, "smpl22": SMPL22, "root alone": ROOT_ALONE}


def random_rotations(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(math.prod(shape))
    skew = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    x, y, z = skew.unbind(-1)
    zero = torch.zeros_like(x)
    matrix = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(matrix).to(dtype)


def slow_local_to_global(local: Tensor, skeleton: Skeleton) -> Tensor:
    chain: list[Tensor] = []
    for joint, parent in enumerate(skeleton.parents):
        chain.append(local[..., joint, :, :] if parent < 0 else chain[parent] @ local[..., joint, :, :])
    return torch.stack(chain, dim=-3)


def slow_global_to_local(world: Tensor, skeleton: Skeleton) -> Tensor:
    found = [
        world[..., joint, :, :] if parent < 0 else world[..., parent, :, :].mT @ world[..., joint, :, :]
        for joint, parent in enumerate(skeleton.parents)
    ]
    return torch.stack(found, dim=-3)


def slow_positions(world: Tensor, skeleton: Skeleton, translation: Tensor, rest: Tensor) -> Tensor:
    chain = [rest[..., 0, :] + translation]
    for joint, parent in list(enumerate(skeleton.parents))[1:]:
        bone = rest[..., joint, :] - rest[..., parent, :]
        chain.append(chain[parent] + (world[..., parent, :, :] @ bone[..., None])[..., 0])
    return torch.stack(torch.broadcast_tensors(*chain), dim=-2)


def slow_positions_local(local: Tensor, skeleton: Skeleton, translation: Tensor, rest: Tensor) -> Tensor:
    return slow_positions(slow_local_to_global(local, skeleton), skeleton, translation, rest)


def assert_same_with_gradients(fast: Callable, slow: Callable, *inputs: Tensor) -> None:
    inputs = tuple(x.detach().clone().requires_grad_() for x in inputs)
    got, expected = fast(*inputs), slow(*inputs)
    torch.testing.assert_close(got, expected)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(0), dtype=got.dtype)
    got_gradients = torch.autograd.grad((got * weights).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), inputs, materialize_grads=True)
    for one, other in zip(got_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (0,), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_every_function_is_its_slow_twin(skeleton: Skeleton, lead: tuple[int, ...]) -> None:
    rotations = random_rotations(*lead, skeleton.num_joints)
    translation = torch.randn(*lead, 3, dtype=torch.float64)
    rest = skeleton.rest_joints.double()
    assert_same_with_gradients(
        lambda x: local_to_global(x, skeleton), lambda x: slow_local_to_global(x, skeleton), rotations
    )
    assert_same_with_gradients(
        lambda x: global_to_local(x, skeleton), lambda x: slow_global_to_local(x, skeleton), rotations
    )
    for fast, slow in (
        (forward_kinematics, slow_positions_local),
        (forward_kinematics_global, slow_positions),
    ):
        assert_same_with_gradients(
            lambda x, t, r, fast=fast: fast(x, skeleton, t, r),
            lambda x, t, r, slow=slow: slow(x, skeleton, t, r),
            rotations,
            translation,
            rest,
        )


@pytest.mark.parametrize(
    ("rotations", "translation", "rest"),
    [
        ((2, 4), (2, 4), (2, 1)),  # one skeleton per clip
        ((2, 4), (4,), (1, 1)),
        ((2, 4), (2, 4), (2, 4)),
        ((), (4,), ()),  # one pose in four places
        ((4,), (), (3, 1)),
    ],
    ids=str,
)
def test_leading_axes_broadcast(rotations: tuple, translation: tuple, rest: tuple) -> None:
    x = random_rotations(*rotations, 22)
    t = torch.randn(*translation, 3, dtype=torch.float64)
    r = SMPL22.rest_joints + 0.1 * torch.randn(*rest, 22, 3, dtype=torch.float64)
    for fast, slow in ((forward_kinematics, slow_positions_local), (forward_kinematics_global, slow_positions)):
        assert_same_with_gradients(
            lambda x, t, r, fast=fast: fast(x, SMPL22, t, r),
            lambda x, t, r, slow=slow: slow(x, SMPL22, t, r),
            x,
            t,
            r,
        )


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rotations, translation = random_rotations(50, 55), torch.randn(50, 3, dtype=torch.float64)
    rest = SMPLX.rest_joints + 0.1 * torch.randn(50, 55, 3, dtype=torch.float64)
    monkeypatch.setattr(_differentiable, "_BLOCK", 7 * 55)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    test_every_function_is_its_slow_twin(SMPLX, (50,))
    for fast, slow in ((forward_kinematics, slow_positions_local), (forward_kinematics_global, slow_positions)):
        assert_same_with_gradients(
            lambda x, t, r, fast=fast: fast(x, SMPLX, t, r),
            lambda x, t, r, slow=slow: slow(x, SMPLX, t, r),
            rotations,
            translation,
            rest,
        )


@st.composite
def trees(draw: st.DrawFn) -> Skeleton:
    parents = [-1] + [draw(st.integers(0, joint - 1)) for joint in range(1, draw(st.integers(1, 9)))]
    rest = torch.randn(len(parents), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(len(parents)))
    return Skeleton(names=tuple(map(str, range(len(parents)))), parents=tuple(parents), rest_joints=rest)


@settings(deadline=None, max_examples=25)
@given(skeleton=trees())
def test_any_tree(skeleton: Skeleton) -> None:
    test_every_function_is_its_slow_twin(skeleton, (3,))
    rotations = random_rotations(3, skeleton.num_joints)
    torch.testing.assert_close(global_to_local(local_to_global(rotations, skeleton), skeleton), rotations)


def test_gradcheck() -> None:
    small = SMPLX.subset(["pelvis", "left_hip", "right_hip", "spine1", "left_knee", "spine2"])
    x = (random_rotations(2, 6) + 0.1).requires_grad_()  # no rotations: the derivative of the products as written
    t = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    r = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_to_global(x, small), x)
    assert torch.autograd.gradcheck(lambda x: global_to_local(x, small), x)
    assert torch.autograd.gradcheck(lambda x, t, r: forward_kinematics(x, small, t, r), (x, t, r))
    assert torch.autograd.gradcheck(lambda x, t, r: forward_kinematics_global(x, small, t, r), (x, t, r))


def test_second_derivatives_are_refused_not_wrong() -> None:
    x = random_rotations(2, 22).requires_grad_()
    (gradient,) = torch.autograd.grad(forward_kinematics(x, SMPL22).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_local_and_global_undo_each_other(dtype: torch.dtype) -> None:
    rotations = random_rotations(4, 55, dtype=dtype)
    world = local_to_global(rotations, SMPLX)
    assert world.dtype == dtype
    tolerance = {"atol": 50 * torch.finfo(dtype).eps, "rtol": 0}
    torch.testing.assert_close(global_to_local(world, SMPLX), rotations, **tolerance)
    torch.testing.assert_close(local_to_global(global_to_local(rotations, SMPLX), SMPLX), rotations, **tolerance)


def test_float32_error() -> None:
    local = random_rotations(300, 55)
    translation = torch.randn(300, 3, dtype=torch.float64)
    world = local_to_global(local, SMPLX)
    positions = forward_kinematics(local, SMPLX, translation)
    float32 = {"atol": 1e-6, "rtol": 0, "check_dtype": False}
    torch.testing.assert_close(local_to_global(local.float(), SMPLX), world, **float32)
    torch.testing.assert_close(forward_kinematics(local.float(), SMPLX, translation.float()), positions, **float32)
    torch.testing.assert_close(
        forward_kinematics_global(world.float(), SMPLX, translation.float()), positions, **float32
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    rotations = random_rotations(3, 55).to(dtype)
    positions = forward_kinematics(rotations, SMPLX)
    assert positions.dtype == dtype
    exact = forward_kinematics(rotations.double(), SMPLX)
    torch.testing.assert_close(positions.double(), exact, atol=2 * torch.finfo(dtype).eps, rtol=0)
    assert local_to_global(rotations, SMPLX).dtype == dtype
    leaf = rotations.clone().requires_grad_()
    forward_kinematics(leaf, SMPLX).float().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == dtype


def test_agrees_with_smplx() -> None:
    local = random_rotations(20, 55, dtype=torch.float32)
    rest = SMPLX.rest_joints.expand(20, -1, -1)
    expected, _ = batch_rigid_transform(local, rest, torch.tensor(SMPLX.parents))
    torch.testing.assert_close(forward_kinematics(local, SMPLX), expected, atol=1e-6, rtol=0)


def test_conventions() -> None:
    """0.6 rad about Z at the root sends X towards Y; a child's rotation acts first, in the parent's frame."""
    chain = Skeleton(
        names=("a", "b", "c"), parents=(-1, 0, 1), rest_joints=torch.tensor([[0.0, 0, 1], [1, 0, 1], [2, 0, 1]])
    )
    cos, sin = math.cos(0.6), math.sin(0.6)
    about_z = torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    about_x = torch.tensor([[1, 0, 0], [0, 0, -1.0], [0, 1, 0]])
    local = torch.stack([about_z, about_x, torch.eye(3)])
    shift = torch.tensor([10.0, 0, 0])
    expected = torch.tensor([[10, 0, 1], [10 + cos, sin, 1], [10 + 2 * cos, 2 * sin, 1]])
    torch.testing.assert_close(forward_kinematics(local, chain, shift), expected)
    world = local_to_global(local, chain)
    torch.testing.assert_close(world[1], about_z @ about_x)
    torch.testing.assert_close(forward_kinematics_global(world, chain, shift), expected)


def test_input_layout_does_not_matter() -> None:
    rotations = random_rotations(6, 22)
    expected = forward_kinematics(rotations, SMPL22)
    frames_last = rotations.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    torch.testing.assert_close(forward_kinematics(frames_last, SMPL22), expected, rtol=0, atol=0)
    torch.testing.assert_close(forward_kinematics(rotations.mT.contiguous().mT, SMPL22), expected, rtol=0, atol=0)
    leaf = rotations.clone().requires_grad_()
    forward_kinematics(leaf, SMPL22).sum().backward()  # an expanded gradient comes back
    assert leaf.grad is not None
    repeated = torch.eye(3).expand(4, 55, 3, 3)
    assert local_to_global(repeated, SMPLX).is_contiguous()


def test_inputs_are_left_alone() -> None:
    rotations, translation = random_rotations(4, 55), torch.ones(4, 3, dtype=torch.float64)
    kept = rotations.clone()
    forward_kinematics(rotations, SMPLX, translation)
    global_to_local(local_to_global(rotations, SMPLX), SMPLX)
    assert torch.equal(rotations, kept)
    assert torch.equal(translation, torch.ones(4, 3, dtype=torch.float64))


@pytest.mark.torch26
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, on its first compilation
def test_a_compiler_sees_one_graph() -> None:
    rotations = random_rotations(3, 22)
    for function in (local_to_global, global_to_local, forward_kinematics, forward_kinematics_global):
        compiled = torch.compile(lambda x, f=function: f(x, SMPL22), backend="aot_eager", fullgraph=True)
        assert_same_with_gradients(compiled, lambda x, f=function: f(x, SMPL22), rotations)


def test_errors() -> None:
    eye = torch.eye(3).expand(4, 22, 3, 3)
    for function in (local_to_global, forward_kinematics):
        with pytest.raises(
            ValueError, match=r"`local_rotations` must have shape \(..., 55, 3, 3\); got \(4, 22, 3, 3\)"
        ):
            function(eye, SMPLX)
    for function in (global_to_local, forward_kinematics_global):
        with pytest.raises(ValueError, match=r"`global_rotations` must have shape \(..., 55, 3, 3\)"):
            function(eye, SMPLX)
    with pytest.raises(ValueError, match=r"`translation` must have shape \(..., 3\)"):
        forward_kinematics(eye, SMPL22, torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"`rest_joints` must have shape \(..., 22, 3\)"):
        forward_kinematics(eye, SMPL22, rest_joints=SMPLX.rest_joints)
    with pytest.raises(ValueError, match=r"must broadcast; got \(4,\) and \(5,\)"):
        forward_kinematics(eye, SMPL22, torch.zeros(5, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_cuda_agrees() -> None:
    rotations = random_rotations(10, 55)
    leaf = rotations.cuda().requires_grad_()
    positions = forward_kinematics(leaf, SMPLX)
    torch.testing.assert_close(positions.cpu(), forward_kinematics(rotations, SMPLX))
    positions.square().sum().backward()
    assert leaf.grad is not None
