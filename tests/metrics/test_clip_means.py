"""Every measure as an accumulator: however the clips are cut into shards, the set's number is the same."""

from __future__ import annotations

import pytest
import torch

from cospeech.metrics import CLIP_MEANS, ClipMean, clip_mean, l1_deviation, r_precision, retrieval_ranks
from cospeech.metrics import matching_distances as distances_of


def clips_for(name: str, count: int) -> list[tuple[tuple[torch.Tensor, ...], dict]]:
    """Arguments of one clip each, of other lengths."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    found = []
    for i in range(count):
        frames = 6 + i % 5
        pair, options = (draw(frames, 4, 3), draw(frames, 4, 3)), {}
        if name in ("l1_diversity", "pairwise_diversity", "jerk", "ground_penetration", "foot_slide", "foot_contact"):
            pair = pair[:1]
        if name in ("jerk", "foot_slide", "foot_contact"):
            options = {"rate_hz": 30.0}
        if name == "pck":
            options = {"threshold": 2.0}
        if name == "srgr":
            pair, options = (*pair, draw(frames).abs()), {"threshold": 2.0}
        if name.startswith("expression"):
            pair = (draw(frames, 5), draw(frames, 5))
        if name in ("r_precision", "mm_distance"):
            pair = (draw(frames, 5), draw(frames, 5))
        if name in ("drawn_diversity", "multimodality"):
            shape = (frames, 5) if name == "drawn_diversity" else (frames, 4, 5)
            pair = (draw(*shape), torch.tensor([0, 1]), torch.tensor([2, 3]))
        found.append((pair, options))
    return found


@pytest.mark.parametrize("name", CLIP_MEANS)
def test_shards_add_up(name):
    clips = clips_for(name, 101)
    measure, weigh = CLIP_MEANS[name]
    weights = torch.tensor([1.0 if weigh is None else weigh(*pair) for pair, _ in clips], dtype=torch.float64)
    values = torch.stack([measure(*pair, **options).double() for pair, options in clips])
    exact = torch.einsum("n,n...->...", weights, values) / weights.sum()
    for num_shards in (1, 7, 100):
        total = clip_mean(name)
        for part in torch.arange(len(clips)).tensor_split(num_shards):
            shard = clip_mean(name)
            for i in part.tolist():
                pair, options = clips[i]
                shard.update(*pair, **options)
            total.merge(shard)
        torch.testing.assert_close(total.compute(), exact, rtol=1e-9, atol=1e-12)


def test_retrieval_is_that_of_its_batches():
    precision = clip_mean("r_precision")
    batches = clips_for("r_precision", 5)
    for pair, _ in batches:
        precision.update(*pair)
    ranks = torch.cat([retrieval_ranks(distances_of(*pair)) for pair, _ in batches])
    torch.testing.assert_close(precision.compute(), r_precision(ranks))


def test_reset_and_errors():
    spread = ClipMean(l1_deviation)
    spread.update(torch.randn(5, 2, 3))
    spread.reset()
    with pytest.raises(ValueError, match="got none"):
        spread.compute()
    with pytest.raises(ValueError, match="Unknown measure 'fgd'; choose from l1_diversity"):
        clip_mean("fgd")
