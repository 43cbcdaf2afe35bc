"""Each of GlobalDiff's loss terms alone, against the published functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cospeech.losses import difference_losses, geodesic_angles, geodesic_loss, structure_loss
from cospeech.rotations import rot6d_to_matrix


def rotations(motion):
    """The published Gram-Schmidt, operation for operation, so that the losses alone are compared."""
    first, second = motion[..., :-3].unflatten(-1, (-1, 6)).split(3, dim=-1)
    first = F.normalize(first, dim=-1)
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def reconstruction(predicted, target, rotations=rotations):
    angle = geodesic_loss(rotations(predicted), rotations(target))
    return angle + F.l1_loss(predicted[..., -3:], target[..., -3:])


def difference_from_identity(predicted, target):
    """``PosesReconsLoss``, which the program defines and never uses; the conversion in it is what we share."""
    product = rot6d_to_matrix(target[..., :-3].unflatten(-1, (-1, 6))) @ rotations(predicted).mT
    angle = F.l1_loss(product, torch.eye(3).expand_as(product))
    return angle + F.l1_loss(predicted[..., -3:], target[..., -3:])


@pytest.mark.case("globaldiff_loss_terms")
def test_each_term(case):
    a, b = case.inputs["a"], case.inputs["b"]
    angles = geodesic_angles(rotations(b), rotations(a))
    each = case.outputs["geodesic_each"]
    velocity, acceleration = difference_losses(b, a)
    smooth = [F.smooth_l1_loss(b.diff(n=n, dim=1), a.diff(n=n, dim=1), beta=0.02) for n in (1, 2)]
    bones = [case.inputs[name] for name in ("bones_b", "bones_a")]
    ours = {
        "geodesic_each": angles.flatten()[: len(each)],
        "geodesic_mean": angles.mean(),
        "recons": reconstruction(b, a),
        "recons_identical": reconstruction(a, a),
        "vel": velocity,
        "smooth": acceleration,
        "smooth_l1_vel": smooth[0],
        "smooth_l1_acc": smooth[1],
        "structure": structure_loss(*bones),
        "poses_recons": difference_from_identity(b, a),
    }
    assert case.outputs.keys() == ours.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, case.outputs[name], rtol=1e-6, atol=0, msg=f"{name}: {value}")


@pytest.mark.case("globaldiff_loss_terms")
def test_with_our_conversion(case):
    """Single angles show the last bit of a cosine (in float64 too they are 1e-4 away), their mean does not."""
    a, b = case.inputs["a"], case.inputs["b"]
    ours = reconstruction(b, a, lambda motion: rot6d_to_matrix(motion[..., :-3].unflatten(-1, (-1, 6))))
    torch.testing.assert_close(ours, case.outputs["recons"], rtol=1e-5, atol=0)
