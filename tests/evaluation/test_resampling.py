"""Distances of resampled sets against those of the features themselves."""

from __future__ import annotations

import pytest
import torch

from cospeech.evaluation.resampling import MomentStack, percentile_interval, resampled_distances, resampled_means
from cospeech.metrics import FRECHET_RULES, Moments, frechet_distance


def moments_of(features):
    moments = Moments()
    moments.update(features)
    return moments


@pytest.mark.parametrize("rule", ["exact", "evaltools"])
def test_resampled_distances_are_those_of_the_repeated_features(rule):
    generator = torch.Generator().manual_seed(0)
    shift = 100 * torch.randn(6, generator=generator)  # far from zero: nothing may be lost
    ours = [torch.randn(5 + i, 6, generator=generator) + shift for i in range(20)]
    theirs = [1.2 * torch.randn(4 + i, 6, generator=generator) + shift for i in range(20)]
    picks = torch.randint(20, (40, 20), generator=generator)
    weights = torch.stack([torch.bincount(pick, minlength=20) for pick in picks]).double()
    stacks = [MomentStack([moments_of(x) for x in clips]) for clips in (ours, theirs)]
    found = resampled_distances(*stacks, weights, FRECHET_RULES[rule])
    expected = [
        frechet_distance(*(torch.cat([clips[i] for i in pick]) for clips in (ours, theirs)), rule=FRECHET_RULES[rule])
        for pick in picks.tolist()
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-9)
    whole = stacks[0].whole()
    torch.testing.assert_close(whole.covariance, torch.cat(ours).double().T.cov(), rtol=1e-9, atol=1e-9)


def test_clips_without_features_have_no_part():
    stack = MomentStack([Moments(), moments_of(torch.randn(4, 3))])
    assert (stack.num_clips, stack.count, stack.dim) == (1, 4, 3)
    with pytest.raises(ValueError, match="must hold those of one clip"):
        MomentStack([Moments()])


def test_means_and_intervals():
    values, weights = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 1.0, 2.0])
    picks = torch.tensor([[0, 1, 2], [2, 2, 2]])
    assert resampled_means(values, weights, picks).tolist() == [2.75, 4.0]
    assert percentile_interval(torch.arange(101.0), 0.9) == (5.0, 95.0)
