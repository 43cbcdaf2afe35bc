"""Laws of the skeleton-convolution autoencoder."""

from __future__ import annotations

import pytest
import torch

from cospeech.models import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.models.evaluators import edge_levels
from cospeech.skeleton import SMPLX


def test_pooling_of_smplx() -> None:
    """Edges 55, 35, 20 and no more; every edge goes into one group, and groups run along a limb."""
    levels = edge_levels(SMPLX.parents, 4)
    assert [len(level.neighbours) for level in levels] == [55, 35, 20, 20]
    assert [level.pools for level in levels] == [True, True, False, False]
    for level in levels:
        assert sorted(edge for group in level.groups for edge in group) == list(range(len(level.neighbours)))
    assert levels[0].groups[:5] == ((0,), (1, 4), (7, 10), (2, 5), (8, 11))


def test_neighbours_are_mutual_and_near() -> None:
    level = edge_levels(SMPLX.parents, 1)[0]
    for edge, neighbours in enumerate(level.neighbours):
        assert edge in neighbours
        assert all(edge in level.neighbours[other] for other in neighbours)
    elbow, wrist, index = SMPLX.index("left_elbow"), SMPLX.index("left_wrist"), SMPLX.index("left_index1")
    assert index in level.neighbours[wrist]
    assert index in level.neighbours[elbow]
    assert index not in level.neighbours[SMPLX.index("left_shoulder")]


def test_distance_is_by_steps() -> None:
    """A slow twin: within two steps is what meets something that meets it."""
    parents = SMPLX.parents
    ends = [{0, 55}, *({parents[joint], joint} for joint in range(1, 55))]
    one = [{j for j in range(55) if ends[i] & ends[j]} for i in range(55)]
    two = [set().union(*(one[j] for j in one[i])) for i in range(55)]
    assert [set(neighbours) for neighbours in edge_levels(parents, 1)[0].neighbours] == two


def test_an_output_edge_sees_its_neighbours_only() -> None:
    model = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval()
    layer, x = model.layers[0], torch.randn(1, 330, 16)
    wrist, far = SMPLX.index("left_wrist"), SMPLX.index("right_foot")
    changed = x.clone()
    changed[:, 6 * far : 6 * far + 6] += 1
    before, after = layer.residual(x), layer.residual(changed)
    rows = slice(6 * wrist, 6 * wrist + 6)
    assert torch.equal(before[:, rows], after[:, rows])
    assert not torch.equal(before, after)


def test_latents_are_bounded_and_depend_on_the_clip() -> None:
    model, clip = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval(), torch.randn(1, 64, 330)
    latents = model.encode(clip)
    assert latents.shape == (1, 4, 240)
    assert latents.abs().max() < 1
    assert not torch.allclose(model.encode(clip[:, :32]), latents[:, :2], atol=1e-3)
    assert model(clip).shape == clip.shape


def test_errors_say_what_must_hold() -> None:
    model = SkeletonAutoencoder(SkeletonAutoencoderConfig())
    with pytest.raises(ValueError, match="multiple of 16 frames; got 20"):
        model.encode(torch.zeros(1, 20, 330))
    with pytest.raises(ValueError, match="every joint after its parent"):
        SkeletonAutoencoderConfig(parents=(-1, 2, 0))
