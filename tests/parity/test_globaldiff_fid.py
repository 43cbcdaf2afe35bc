"""The evaluation autoencoder and the Fréchet distance, against GlobalDiff's copy and against EMAGE's tools."""

from __future__ import annotations

import pytest
import torch

from cospeech.data import window_starts
from cospeech.hub.convert.globaldiff_vae import (
    skeleton_autoencoder_from_published,
    skeleton_autoencoder_table,
    skeleton_autoencoder_to_published,
)
from cospeech.metrics import frechet_distance, globaldiff_frechet_distance
from cospeech.models import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.rotations import axis_angle_to_rot6d


def published(case):
    """The filled state; masks and pooling matrices, which a constructor makes, are ours."""
    model = SkeletonAutoencoder(SkeletonAutoencoderConfig())
    made = skeleton_autoencoder_to_published(model)
    return case.published_state(keep=made)


@pytest.mark.case("globaldiff_fid")
def test_pooling_rows(case):
    """The groups are those of the program's pooling matrices."""
    levels = SkeletonAutoencoder(SkeletonAutoencoderConfig()).levels
    for level, groups in enumerate(entry.groups for entry in levels[:2]):
        rows = [(row, edge, 1 / len(group)) for row, group in enumerate(groups) for edge in sorted(group)]
        torch.testing.assert_close(torch.tensor(rows), case.outputs[f"pool_{level}"], rtol=0, atol=1e-6)


@pytest.mark.case("globaldiff_fid")
@torch.inference_mode()
def test_encoder_and_distance(case):
    given, expected = case.inputs, case.outputs
    model = skeleton_autoencoder_from_published(published(case))
    rot6d = axis_angle_to_rot6d(given["local_axis_angle"].unflatten(-1, (-1, 3))).flatten(-2)
    latents = model.encode(rot6d)
    torch.testing.assert_close(latents, expected["latent"], rtol=0, atol=1e-5)
    every = rot6d.shape[1] // expected["rec"].shape[1]
    torch.testing.assert_close(model.decode(latents)[:, ::every], expected["rec"], rtol=0, atol=1e-5)

    features = given["features_a"], given["features_b"]
    wanted = expected["fid"].item()
    assert frechet_distance(*features).item() == pytest.approx(wanted, abs=1e-4)
    assert globaldiff_frechet_distance(*features) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.case("metrics_sk_encoder")
@torch.inference_mode()
def test_encoder_of_the_metrics(case):
    """The same network with the same keys, as the metrics' cases fill it."""
    model = skeleton_autoencoder_from_published(published(case))
    rot6d, expected = case.inputs["rot6d"], case.outputs
    layers = model.encode_layers(rot6d)
    for i, layer in enumerate(layers[:-1]):
        torch.testing.assert_close(layer, expected[f"layer{i}"], rtol=0, atol=2e-5)
    torch.testing.assert_close(layers[-1].mT, expected["latent"], rtol=0, atol=2e-5)
    torch.testing.assert_close(model.encode(rot6d[:, :32]), expected["latent_first32"], rtol=0, atol=2e-5)
    torch.testing.assert_close(model.decode(layers[-1].mT)[:, :32], expected["rec_first32"], rtol=0, atol=2e-5)


@pytest.mark.case("globaldiff_fid")
def test_windows_of_the_evaluation(case):
    """The stored starts belong to a clip whose length is not stored: any that ends within the last stride."""
    starts = case.outputs["window_starts"].tolist()
    for num_frames in (starts[-1] + 64, starts[-1] + 64 + 19):
        assert list(window_starts(num_frames, window_frames=64, stride_frames=20)) == starts


@pytest.mark.case("globaldiff_fid")
def test_keys_both_ways(case):
    state = published(case)
    model = skeleton_autoencoder_from_published(state)
    back = skeleton_autoencoder_table(model).to_published(model.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
