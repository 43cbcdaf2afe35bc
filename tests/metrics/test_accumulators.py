"""However a set is cut, its numbers are the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.metrics import (
    FRECHET_RULES,
    FrechetAccumulator,
    MeanAccumulator,
    Moments,
    clip_mean,
    frechet_distance,
    merge_processes,
)


def features(count: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(count, dim, generator=generator) @ mixing + 100 * torch.randn(dim, generator=generator)


@pytest.mark.parametrize("num_shards", [1, 7, 100])
@pytest.mark.parametrize("rule", ["exact", "evaltools"])
def test_shards_add_up(num_shards, rule):
    ours, theirs = features(700, 24, 0), features(650, 24, 0).roll(1, 0) * 1.1
    whole = FrechetAccumulator(FRECHET_RULES[rule])
    whole.update(ours, theirs)
    total = FrechetAccumulator(FRECHET_RULES[rule])
    for part, other in zip(ours.tensor_split(num_shards), theirs.tensor_split(num_shards), strict=True):
        shard = FrechetAccumulator(FRECHET_RULES[rule])
        shard.update(part, other)
        total.merge(shard)
    assert total.compute() == pytest.approx(whole.compute(), rel=1e-9)
    assert total.compute() == pytest.approx(frechet_distance(ours, theirs, rule=FRECHET_RULES[rule]).item(), rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 60), max_size=8), seed=st.integers(0, 99))
def test_moments_do_not_depend_on_cuts(cuts, seed):
    x = features(60, 4, seed)
    moments = Moments()
    for part in x.tensor_split(sorted(cuts)):
        moments.update(part)
    found = moments.compute()
    torch.testing.assert_close(found.mean, x.double().mean(0), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(found.covariance, x.double().T.cov(), rtol=1e-9, atol=1e-9)


def test_merging_leaves_the_other_as_it_is():
    first, second = Moments(), Moments()
    second.update(features(10, 3, 0))
    before = second.compute()
    first.merge(second)
    first.update(features(10, 3, 1))
    assert torch.equal(second.compute().mean, before.mean)
    assert torch.equal(second.compute().covariance, before.covariance)


@pytest.mark.parametrize("num_shards", [1, 7, 100])
def test_means_add_up(num_shards):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(300, generator=generator, dtype=torch.float64)
    weights = torch.randint(1, 2000, (300,), generator=generator).double()
    total = MeanAccumulator()
    for part in torch.arange(300).tensor_split(num_shards):
        shard = MeanAccumulator()
        for i in part.tolist():
            shard.update(values[i], float(weights[i]))
        total.merge(shard)
    exact = (values * weights).sum() / weights.sum()
    assert total.compute().item() == pytest.approx(exact.item(), rel=1e-9)


def test_reset_forgets():
    mean, moments, distance = MeanAccumulator(), Moments(), FrechetAccumulator()
    mean.update(3.0)
    moments.update(torch.randn(4, 2))
    distance.update(torch.randn(4, 2), torch.randn(4, 2))
    for accumulator in (mean, moments, distance):
        accumulator.reset()
        with pytest.raises(ValueError, match=r"got none|got 0"):
            accumulator.compute()


def test_one_process_is_its_own_sum():
    mean = MeanAccumulator()
    mean.update(2.0)
    assert merge_processes(mean) is mean


WORKER = """
import sys
import torch
from cospeech.metrics import FrechetAccumulator, Moments, clip_mean, merge_processes

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
moments = Moments()
moments.update(torch.load(f"{folder}/features.pt", weights_only=True).tensor_split(2)[rank])
distance, spread = FrechetAccumulator(), clip_mean("mpjpe")
clips = torch.load(f"{folder}/features.pt", weights_only=True).reshape(-1, 4, 2, 3)
for i in range(rank, len(clips), 2):
    distance.update(clips[i].flatten(1), 1.5 * clips[i].flatten(1))
    spread.update(clips[i], 1.5 * clips[i])
numbers = [merge_processes(distance).compute(), float(merge_processes(spread).compute())]
torch.save((merge_processes(moments).compute().covariance, numbers), f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_processes_add_up(tmp_path):
    torch.save(features(40, 3, 5), tmp_path / "features.pt")
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    exact = features(40, 3, 5).double().T.cov()
    alone, spread = FrechetAccumulator(), clip_mean("mpjpe")
    for clip in features(40, 3, 5).reshape(-1, 4, 2, 3):
        alone.update(clip.flatten(1), 1.5 * clip.flatten(1))
        spread.update(clip, 1.5 * clip)
    for rank in range(2):
        found, numbers = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
        assert numbers == pytest.approx([alone.compute(), float(spread.compute())], rel=1e-9)


def test_errors_say_what_must_hold():
    moments = Moments()
    moments.update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`features` must have shape \(N, 3\)"):
        moments.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="must be finite"):
        moments.update(torch.full((1, 3), torch.nan))
    assert moments.count == 2
    mean = MeanAccumulator()
    mean.update(torch.zeros(2))
    with pytest.raises(ValueError, match="must have shape"):
        mean.update(1.0)
    with pytest.raises(ValueError, match="must not be negative"):
        mean.update(torch.zeros(2), weight=-1)
