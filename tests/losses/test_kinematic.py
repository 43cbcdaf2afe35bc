"""Laws of the losses on points."""

from __future__ import annotations

import pytest
import torch

from cospeech.losses import point_losses


def test_equal_points_lose_nothing() -> None:
    x = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    assert [float(loss) for loss in point_losses(x, x)] == [0, 0, 0]


def test_constant_offset_changes_position_only() -> None:
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    position, velocity, acceleration = point_losses(x + 0.1, x)
    assert float(position) == pytest.approx(0.1 - 0.01)
    assert float(velocity) == pytest.approx(0, abs=1e-12)
    assert float(acceleration) == pytest.approx(0, abs=1e-12)


def test_equals_the_slow_twin() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (0.05 * torch.randn(4, 2, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def slow(x: torch.Tensor, y: torch.Tensor) -> float:
        total = 0.0
        for frame in range(len(x)):
            for joint in range(2):
                for axis in range(3):
                    d = abs(float(x[frame, joint, axis] - y[frame, joint, axis]))
                    total += float(weights[joint]) * (d * d / 0.04 if d < 0.02 else d - 0.01)
        return total / x.numel()

    twins = [slow(a, b), slow(a[1:] - a[:-1], b[1:] - b[:-1])]
    twins.append(slow(a[2:] - 2 * a[1:-1] + a[:-2], b[2:] - 2 * b[1:-1] + b[:-2]))
    assert [float(loss) for loss in point_losses(a, b, weights=weights)] == pytest.approx(twins)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(3, 2, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.stack(point_losses(x, b)), (a,))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="T at least 3"):
        point_losses(torch.zeros(2, 1, 3), torch.zeros(2, 1, 3))
    with pytest.raises(ValueError, match="must be alike"):
        point_losses(torch.zeros(4, 1, 3), torch.zeros(4, 2, 3))
