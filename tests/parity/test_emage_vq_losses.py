"""Terms of the motion networks' losses against the published program."""

from __future__ import annotations

import pytest
import torch

from cospeech.losses import (
    central_velocity,
    geodesic_angles,
    locked_feet_loss,
    rotation_terms,
    signal_terms,
)
from cospeech.models import EmageGlobalMotion
from cospeech.rotations import rot6d_to_matrix


def assert_within(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.case("emage_vq_losses")
def test_rotations(case):
    given, expected = case.inputs, case.outputs
    predicted, target = rot6d_to_matrix(given["rot6d"]), rot6d_to_matrix(given["rot6d_target"])
    terms = rotation_terms(predicted, target)
    assert_within(terms.value, expected["geodesic"])
    assert_within(terms.velocity, expected["matrix_vel_l1"])
    assert_within(terms.acceleration, expected["matrix_acc_l1"])
    each = expected["geodesic_each"]
    assert_within(geodesic_angles(predicted, target)[: len(each)], each)


@pytest.mark.case("emage_vq_losses")
def test_expressions(case):
    terms = signal_terms(case.inputs["expression"], case.inputs["expression_target"], squared=True)
    for name, value in zip(("expr_mse", "expr_d1_mse", "expr_d2_mse"), terms, strict=True):
        assert_within(value, case.outputs[name])


@pytest.mark.case("emage_vq_losses")
def test_travel(case):
    given, expected = case.inputs, case.outputs
    channels, translation = given["trans_channels"], given["trans"]
    velocity = central_velocity(translation)
    along_x, along_z = (signal_terms(channels[..., [i]], velocity[..., [i]]) for i in (0, 2))
    for name, x, z in zip(("trans_vel_l1", "trans_vel_d1", "trans_vel_d2"), along_x, along_z, strict=True):
        assert_within(x + z, expected[name])
    motion = torch.cat([torch.zeros(*channels.shape[:2], 54), channels, torch.zeros(*channels.shape[:2], 4)], dim=-1)
    position = EmageGlobalMotion.integrate(motion, translation[:, 0]).translation
    assert_within(position, expected["trans_position"])
    terms = signal_terms(position, translation)
    for name, value in zip(("trans_pos_l1", "trans_pos_d1", "trans_pos_d2"), terms, strict=True):
        assert_within(value, expected[name])


@pytest.mark.case("emage_vq_losses")
def test_feet(case):
    loss = locked_feet_loss(case.inputs["feet"], case.inputs["contact_pred"])
    assert_within(loss, case.outputs["foot_velocity_l1"])
