"""Laws of the rotation loss."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.losses import geodesic_angles, geodesic_loss
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance


def rotations(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return axis_angle_to_matrix(torch.randn(*shape, 3, dtype=torch.float64, generator=generator))


def test_equals_the_exact_distance_away_from_zero_and_pi(generator: torch.Generator) -> None:
    a, b = rotations(50, generator=generator), rotations(50, generator=generator)
    exact = geodesic_distance(a, b)
    inside = (exact > 0.05) & (exact < 3.09)
    torch.testing.assert_close(geodesic_angles(a, b)[inside], exact[inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-6, math.pi - 1e-6, math.pi])
def test_gradient_is_finite_where_the_arc_cosine_is_steep(angle: float) -> None:
    turned = axis_angle_to_matrix(torch.tensor([angle, 0.0, 0.0])).requires_grad_()
    loss = geodesic_loss(turned, torch.eye(3))
    loss.backward()
    assert turned.grad is not None
    assert bool(turned.grad.isfinite().all())
    assert loss.item() == pytest.approx(angle, abs=2e-3)


def test_symmetric_and_the_same_from_both_sides(generator: torch.Generator) -> None:
    a, b, common = (rotations(8, generator=generator) for _ in range(3))
    torch.testing.assert_close(geodesic_angles(a, b), geodesic_angles(b, a))
    torch.testing.assert_close(geodesic_angles(common @ a, common @ b), geodesic_angles(a, b))


def test_gradcheck(generator: torch.Generator) -> None:
    a, b = rotations(3, generator=generator).requires_grad_(), rotations(3, generator=generator)
    assert torch.autograd.gradcheck(lambda x: geodesic_loss(x, b), (a,))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"same shape; got \(2, 3, 3\) and \(3, 3\)"):
        geodesic_loss(torch.eye(3).expand(2, 3, 3), torch.eye(3))
