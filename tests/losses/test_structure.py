"""Laws of the skeleton structure loss."""

from __future__ import annotations

import pytest
import torch

from cospeech.losses import bone_cosines, bone_vectors, structure_loss
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX


def test_bones_point_from_parent_to_joint() -> None:
    bones = bone_vectors(SMPLX.rest_joints, SMPLX)
    for joint in (1, 20, 54):
        parent = SMPLX.parents[joint]
        assert torch.equal(bones[joint - 1], SMPLX.rest_joints[joint] - SMPLX.rest_joints[parent])


def test_turning_moving_and_scaling_the_whole_body_changes_nothing(generator: torch.Generator) -> None:
    joints = torch.randn(4, 55, 3, dtype=torch.float64, generator=generator)
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64))
    moved = 1.7 * joints @ turn.T + torch.tensor([1.0, 2.0, 3.0])
    before, after = (bone_vectors(x, SMPLX) for x in (joints, moved))
    assert structure_loss(before, after).item() < 1e-5  # published: 1e-6 m beside each length


def test_equals_the_slow_twin(generator: torch.Generator) -> None:
    bones = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    cosines = bone_cosines(bones)
    for i, a in enumerate(bones):
        for j, b in enumerate(bones):
            slow = float(a @ b) / (float(a.norm()) + 1e-6) / (float(b.norm()) + 1e-6)
            assert abs(float(cosines[i, j]) - slow) < 1e-12


def test_a_bone_of_no_length_has_a_finite_gradient() -> None:
    bones = torch.zeros(2, 3, requires_grad=True)
    structure_loss(bones, torch.ones(2, 3)).backward()
    assert bones.grad is not None
    assert bool(bones.grad.isfinite().all())


def test_loss_and_gradient_are_those_of_the_cosines(generator: torch.Generator) -> None:
    bones, other = torch.randn(2, 4, 6, 3, dtype=torch.float64, generator=generator)
    bones.requires_grad_()
    plain = (bone_cosines(bones) - bone_cosines(other)).abs().mean()
    ours = structure_loss(bones, other)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(*(torch.autograd.grad(loss, bones)[0] for loss in (ours, plain)))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"same shape; got \(2, 3\) and \(3, 3\)"):
        structure_loss(torch.zeros(2, 3), torch.zeros(3, 3))
