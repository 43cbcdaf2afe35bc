"""Laws of jerk and foot slide, with slow twins."""

from __future__ import annotations

import pytest
import torch

from cospeech.metrics import foot_slide, mean_jerk


def test_jerk_of_a_cubic_and_of_less() -> None:
    time = torch.arange(30, dtype=torch.float64) / 60
    curve = torch.stack([2 * time**3, time**2, 5 * time], -1)[:, None]
    assert mean_jerk(curve, 60.0) == pytest.approx(12.0)
    assert mean_jerk(curve[..., 1:].repeat(1, 1, 2)[..., :3] * torch.tensor([0.0, 1.0, 1.0]), 60.0) < 13
    assert mean_jerk(torch.zeros(4, 2, 3), 30.0) == 0


def test_jerk_equals_the_slow_twin() -> None:
    x = torch.randn(3, 12, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for clip, fast in zip(x, mean_jerk(x, 25.0), strict=True):
        total, count = 0.0, 0
        for frame in range(9):
            for joint in range(4):
                p = clip[frame : frame + 4, joint]
                total += float((p[3] - 3 * p[2] + 3 * p[1] - p[0]).norm()) * 25**3
                count += 1
        assert float(fast) == pytest.approx(total / count)


def test_foot_slide_counts_only_what_is_low() -> None:
    feet = torch.zeros(11, 2, 3)
    feet[:, 0, 0] = torch.arange(11) * 0.01  # slides at 0.3 m/s
    feet[:, 1, 1] = 0.5  # in the air
    feet[:, 1, 2] = torch.arange(11) * 0.1
    slide = foot_slide(feet, 30.0)
    assert slide.mean_speed == pytest.approx(0.3)
    assert slide.share == 1
    assert slide.contacts == 0.5


def test_planted_and_lifted_feet_do_not_slide() -> None:
    planted, lifted = torch.zeros(9, 2, 3), torch.ones(9, 2, 3).cumsum(0)
    assert foot_slide(planted, 30.0).mean_speed == 0
    assert foot_slide(lifted, 30.0) == (0, 0, 0)


def test_batches_are_independent() -> None:
    x = torch.rand(4, 20, 2, 3, generator=torch.Generator().manual_seed(1)) * 0.1
    together = foot_slide(x, 30.0)
    for row in range(4):
        for whole, alone in zip(together, foot_slide(x[row], 30.0), strict=True):
            assert torch.allclose(whole[row], alone)


def test_short_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="4 frames at least; got 3"):
        mean_jerk(torch.zeros(3, 1, 3), 30.0)
    with pytest.raises(ValueError, match="2 frames at least; got 1"):
        foot_slide(torch.zeros(1, 1, 3), 30.0)
