"""Laws of diversities, errors, recalls and the quality of motion."""

from __future__ import annotations

import math

import pytest
import torch

from cospeech.metrics import (
    correct_share,
    difference_lengths,
    ground_penetration,
    jitter_spectrum,
    l1_deviation,
    matching_distances,
    mean_jerk,
    mean_pairwise_difference,
    position_lvd,
    procrustes_errors,
    r_precision,
    retrieval_ranks,
    root_aligned_errors,
    semantic_recall,
    speed_lvd,
    temporal_variance,
    velocity_lvd,
    vertex_mse,
)
from cospeech.rotations import axis_angle_to_matrix


def clip(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_l1_deviation_is_its_definition():
    x = clip(600, 5, 3) + 10
    exact = (x.double() - x.double().mean(0)).abs().sum((1, 2)).mean()
    assert l1_deviation(x).item() == pytest.approx(exact.item(), rel=1e-7)
    assert l1_deviation(x[:1]).item() == 0
    with pytest.raises(ValueError, match="one frame at least"):
        l1_deviation(x[:0])


def test_pairwise_difference_is_its_definition():
    x = clip(9, 4, 3).double()
    pairs = [(a - b).abs().mean() for i, a in enumerate(x) for b in x[:i]]
    assert mean_pairwise_difference(x).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-12)
    with pytest.raises(ValueError, match="2 samples at least"):
        mean_pairwise_difference(x[:1])


def test_a_moved_copy_has_error_but_no_velocity_error():
    x = clip(20, 6, 3)
    moved = x + 0.25
    assert velocity_lvd(moved, x).item() == pytest.approx(0, abs=1e-6)
    assert position_lvd(moved, x).item() == pytest.approx(0.25, rel=1e-5)  # the published "velocity" difference
    assert vertex_mse(moved, x).item() == pytest.approx(0.0625, rel=1e-5)
    assert speed_lvd(moved, x).item() == pytest.approx(0, abs=1e-5)
    ratio = velocity_lvd(x, clip(20, 6, 3, seed=1), divide_by_frames=True) / velocity_lvd(x, clip(20, 6, 3, seed=1))
    assert ratio.item() == pytest.approx(19 / 20)
    with pytest.raises(ValueError, match="same 2 or more frames; got 20 and 19"):
        velocity_lvd(x, x[1:])


def test_procrustes_undoes_similarities():
    x = clip(4, 10, 3).double()
    rotation = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64))
    y = 1.7 * x @ rotation.T + 3
    assert procrustes_errors(x, y).max() < 1e-9
    mirrored = x * torch.tensor([-1.0, 1, 1])
    assert procrustes_errors(x, mirrored).mean() > 0.1  # a mirror image is no turn
    assert root_aligned_errors(x + 5, x).max() < 1e-9


def test_missing_joints_do_not_count():
    x, y = clip(3, 4, 3), clip(3, 4, 3, seed=1)
    y[1, 2] = -2.0
    errors = root_aligned_errors(x, y, missing=-2.0)
    assert errors.isnan().sum() == 1
    assert errors[1, 2].isnan()


def test_recalls():
    x = clip(10, 4, 3)
    assert correct_share(x, x, threshold=0.1).item() == 1
    assert semantic_recall(x, x).item() == 1
    assert semantic_recall(x, x, torch.full((10,), 0.165)).item() == pytest.approx(1)
    assert semantic_recall(x, x + 0.07).item() == 0  # 0.12 in L2
    assert semantic_recall(x, x + 0.05, order=1).item() == 0  # 0.15 in L1
    assert semantic_recall(x, x + 0.05).item() == 1  # 0.087 in L2


def test_retrieval_of_equal_embeddings_is_perfect():
    x = clip(3, 8, 5)
    distances = matching_distances(x, x)
    assert distances.diagonal(dim1=-2, dim2=-1).abs().max() == 0
    assert r_precision(retrieval_ranks(distances), 2).tolist() == [1, 1]
    assert retrieval_ranks(torch.tensor([[2.0, 1.0], [1.0, 0.0]])).tolist() == [1, 0]


def test_derivatives_of_a_known_motion():
    time = torch.arange(60, dtype=torch.float64) / 30
    x = torch.stack([time**3, 0 * time, 0 * time], -1)[:, None]
    torch.testing.assert_close(difference_lengths(x, 30, order=3), torch.full((57, 1), 6.0).double(), rtol=1e-6, atol=0)
    assert difference_lengths(x, 30, order=3).mean().item() == pytest.approx(mean_jerk(x, 30).item())
    with pytest.raises(ValueError, match="4 frames at least; got 3"):
        difference_lengths(x[:3], 30, order=3)


def test_jitter_stands_where_it_is():
    time = torch.arange(302, dtype=torch.float64) / 30
    x = torch.stack([0.01 * torch.sin(2 * math.pi * 9 * time), time, 0 * time], -1)[:, None]
    frequencies, power = jitter_spectrum(x, 30.0)
    assert frequencies[power[:, 0].argmax()].item() == pytest.approx(9, abs=0.2)
    assert power[frequencies > 6].sum() / power.sum() > 0.99
    acceleration = x.diff(n=2, dim=0) * 900
    assert power.sum().item() == pytest.approx(acceleration.square().sum(-1).mean().item(), rel=0.02)


def test_sinking_is_seen():
    points = torch.zeros(4, 2, 3)
    points[1, 0, 1], points[2, 1, 1] = -0.1, -0.001
    found = ground_penetration(points)
    assert found.max_depth.item() == pytest.approx(0.1)
    assert found.mean_depth.item() == pytest.approx(0.025)
    assert found.share.item() == 0.25


def test_variance_is_over_time():
    x = torch.stack([torch.zeros(5), torch.full((5,), 3.0)], -1)
    assert temporal_variance(x).item() == 0
    assert temporal_variance(torch.tensor([[0.0], [2.0]])).item() == 1
