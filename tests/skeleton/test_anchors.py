"""Points carried by joints."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import anchor_offsets, anchor_points


@pytest.mark.parametrize(("num_points", "edges"), [(4, 6), (6, 12), (20, 30)])
def test_corners_make_a_regular_solid(num_points: int, edges: int) -> None:
    corners = anchor_offsets(num_points, size_metres=2.0)
    assert corners.shape == (num_points, 3)
    torch.testing.assert_close(corners.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(corners.norm(dim=-1), corners[0].norm().expand(num_points))
    distances = torch.pdist(corners)
    assert int((distances < 1.01 * distances.min()).sum()) == edges


def test_published_size() -> None:
    assert anchor_offsets(6).norm(dim=-1).max() == pytest.approx(0.05)
    assert anchor_offsets(4).abs().max() == pytest.approx(0.1 / (2 * math.sqrt(2)))
    assert anchor_offsets(20)[0, 0] == pytest.approx(0.05)
    with pytest.raises(ValueError, match="one of 4, 6, 20; got 8"):
        anchor_offsets(8)


def test_points_turn_with_their_own_joint(generator: torch.Generator) -> None:
    joints = torch.randn(2, 3, 5, 3, generator=generator, dtype=torch.float64)
    rotations = axis_angle_to_matrix(torch.randn(2, 3, 5, 3, generator=generator, dtype=torch.float64))
    for offsets in (torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 7, 3, dtype=torch.float64)):
        each = offsets.expand(5, 7, 3)
        expected = torch.einsum("...jab,jpb->...jpa", rotations, each) + joints[..., None, :]
        torch.testing.assert_close(anchor_points(joints, rotations, offsets), expected)
    single = anchor_points(joints[0, 0, :1], rotations[0, 0, :1], anchor_offsets(6))
    assert single.shape == (1, 6, 3)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`global_rotations` must have shape \(..., 2, 3, 3\)"):
        anchor_points(torch.zeros(2, 3), torch.zeros(3, 3, 3), torch.zeros(6, 3))
    with pytest.raises(ValueError, match=r"`offsets` must have shape \(2, P, 3\)"):
        anchor_points(torch.zeros(2, 3), torch.zeros(2, 3, 3), torch.zeros(3, 6, 3))
