import pytest
import torch

from cospeech.losses import (
    central_velocity,
    geodesic_loss,
    locked_feet_loss,
    part_code_loss,
    part_latent_loss,
    rotation_terms,
    signal_terms,
)
from cospeech.rotations import axis_angle_to_matrix

WEIGHTS = {"face": 0.0, "upper": 1.0, "hands": 2.0}


def test_signal_terms_of_a_parabola():
    t = torch.arange(6.0)[None, :, None]
    terms = signal_terms(t**2, torch.zeros_like(t))
    assert [x.item() for x in terms] == pytest.approx([55 / 6, 25 / 5, 2.0])
    assert signal_terms(t**2, torch.zeros_like(t), squared=True).acceleration == 4.0


def test_rotation_terms_of_a_motion_and_itself_turned():
    rotations = axis_angle_to_matrix(torch.randn(2, 5, 3, 3))
    terms = rotation_terms(rotations, axis_angle_to_matrix(torch.randn(2, 5, 3, 3)))
    assert terms.value > terms.value * 0
    same = rotation_terms(rotations, rotations)
    assert same.value == geodesic_loss(rotations, rotations)
    assert same.velocity == same.acceleration == 0


def test_central_velocity_is_exact_on_parabolas_inside():
    t = torch.arange(8.0, dtype=torch.float64)[None, :, None] / 30
    velocity = central_velocity(3 * t**2)
    torch.testing.assert_close(velocity[:, 1:-1], 6 * t[:, 1:-1])
    torch.testing.assert_close(velocity[:, 0], 3 * t[:, 1] ** 2 * 30)


def test_locked_feet():
    feet = torch.zeros(1, 3, 2, 3)
    feet[0, 1:, 0] = 0.3  # the first joint jumps once, by 0.3 along each axis
    standing = torch.zeros(1, 3, 2)
    assert locked_feet_loss(feet, standing) == 0
    standing[0, 0, 0] = 1
    assert locked_feet_loss(feet, standing).item() == pytest.approx(0.3 * 3 / 18)


def test_absent_parts_have_no_gradient():
    latents = {part: torch.randn(1, 4, 5, requires_grad=True) for part in WEIGHTS}
    logits = {part: torch.randn(1, 4, 7, requires_grad=True) for part in WEIGHTS}
    codes = {"face": torch.zeros(1, 4, 5), "upper": torch.zeros(1, 4, 5), "hands": None}
    indices = {"face": torch.zeros(1, 4, dtype=torch.long), "upper": torch.ones(1, 4, dtype=torch.long), "hands": None}
    (part_latent_loss(latents, codes, WEIGHTS) + part_code_loss(logits, indices, WEIGHTS)).backward()
    for predicted in (latents, logits):
        assert predicted["upper"].grad.any()
        assert predicted["face"].grad is None
        assert predicted["hands"].grad is None


def test_code_loss_is_the_mean_negative_log_likelihood():
    logits, indices = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    slow = -torch.stack([logits[b, t].log_softmax(0)[indices[b, t]] for b in range(2) for t in range(3)]).mean()
    torch.testing.assert_close(part_code_loss({"hands": logits}, {"hands": indices}, WEIGHTS), 2 * slow)


def test_errors():
    with pytest.raises(ValueError, match="target for 'upper', but no prediction"):
        part_latent_loss({"upper": None}, {"upper": torch.zeros(1, 2, 3)}, WEIGHTS)
    with pytest.raises(ValueError, match="At least one part"):
        part_code_loss({}, {}, WEIGHTS)
    with pytest.raises(ValueError, match="T at least 3"):
        signal_terms(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
