"""Laws of the losses on point errors, feature differences and contact."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cospeech.losses import contact_loss, difference_losses, point_error_losses, point_losses


def test_point_errors_equal_autograd_through_the_plain_formula(generator: torch.Generator) -> None:
    errors = (0.05 * torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=generator)).requires_grad_()
    plain = [F.smooth_l1_loss(d, torch.zeros_like(d), beta=0.02) for d in (errors.diff(n=n, dim=1) for n in range(3))]
    ours = point_error_losses(errors)
    scale = torch.tensor([1.0, 10.0, 3.0], dtype=torch.float64)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)
    gradients = [torch.autograd.grad((torch.stack(x) * scale).sum(), errors)[0] for x in (list(ours), plain)]
    torch.testing.assert_close(*gradients)


def test_gradcheck_with_weights(generator: torch.Generator) -> None:
    errors = (0.03 * torch.randn(4, 2, 3, dtype=torch.float64, generator=generator)).requires_grad_()
    weights = torch.tensor([1.0, 2.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: point_error_losses(x, weights=weights), (errors,))


def test_points_see_their_differences_only(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 3, 5, 4, 3, dtype=torch.float64, generator=generator)
    for x, y in zip(point_losses(a, b), point_error_losses(a - b), strict=True):
        torch.testing.assert_close(x, y)


def test_errors_need_three_frames() -> None:
    with pytest.raises(ValueError, match="T at least 3"):
        point_error_losses(torch.zeros(2, 4, 3))


def test_a_constant_offset_does_not_move(generator: torch.Generator) -> None:
    x = torch.randn(2, 6, 9, generator=generator, dtype=torch.float64)
    assert all(float(loss) < 1e-12 for loss in difference_losses(x + 1, x))
    ramp = 0.1 * torch.arange(6, dtype=torch.float64)[:, None]
    velocity, acceleration = difference_losses(x + ramp, x)
    assert float(velocity) == pytest.approx(0.1)
    assert float(acceleration) == pytest.approx(0, abs=1e-12)


def test_contact_counts_steps_that_stand_at_both_ends() -> None:
    feet = torch.tensor([0.0, 0.01, 0.03, 0.06])[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    contact = torch.tensor([True, True, True, False])[:, None]
    assert contact_loss(feet, contact, rate_hz=30.0).item() == pytest.approx(30 * 0.015, rel=1e-5)
    assert contact_loss(feet, ~contact, rate_hz=30.0).item() == 0


def test_a_foot_at_rest_has_a_finite_gradient() -> None:
    feet = torch.zeros(3, 2, 3, requires_grad=True)
    contact_loss(feet, torch.ones(3, 2, dtype=torch.bool), rate_hz=30.0).backward()
    assert feet.grad is not None
    assert bool(feet.grad.isfinite().all())
