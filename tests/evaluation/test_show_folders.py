"""SHOW's windows, from DiffSHEG's arrays and from SMPL-X files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cospeech.errors import EvaluationError
from cospeech.evaluation import evaluate_folders
from cospeech.metrics import frechet_distance
from cospeech.models import GestureAutoencoder, GestureAutoencoderConfig
from cospeech.representations import DiffSHEGShow

STATISTICS = {"motion_mean": torch.linspace(-0.1, 0.1, 232), "motion_std": torch.linspace(0.5, 1.5, 232)}


@pytest.fixture
def arrays(tmp_path):
    generator = np.random.default_rng(0)
    found = {}
    for folder in ("generated", "reference"):
        (tmp_path / folder / "gesture").mkdir(parents=True)
        found[folder] = [generator.normal(scale=0.3, size=(n, 232)).astype(np.float32) for n in (180, 300)]
        for i, array in enumerate(found[folder]):  # as the program writes them: an axis of 1 in front
            np.save(tmp_path / folder / "gesture" / f"{i}.npy", array[None])
    return tmp_path, found


@torch.inference_mode()
def test_it_is_the_published_validation(arrays):
    root, found = arrays
    torch.manual_seed(0)
    network = GestureAutoencoder(GestureAutoencoderConfig(num_frames=88, motion_dim=103)).eval()
    result = evaluate_folders(
        root / "generated",
        root / "reference",
        protocol="diffsheg_show",
        statistics=STATISTICS,
        extractor=network,
        num_resamples=0,
    )
    mean, std = (x.double().numpy() for x in STATISTICS.values())
    ours, theirs = (
        torch.from_numpy(
            np.stack([((x - mean) / std)[i : i + 88] for x in found[name] for i in range(0, len(x) - 87, 88)])
        ).float()
        for name in ("generated", "reference")
    )
    gap = (ours - theirs).double()
    assert result["mse"].value == pytest.approx(float(gap.square().mean()), rel=1e-6)
    assert result["pck"].value == pytest.approx(float((gap.abs() < 0.5).double().mean()), rel=1e-6)  # single numbers
    faces = [network.encode(x[..., 129:]) for x in (ours, theirs)]
    assert result["fed"].value == pytest.approx(float(frechet_distance(*faces)), rel=1e-4)
    assert result["diversity"].value > 0
    assert result.omitted == {
        "fmd": "needs the extractor for motion and face",
        "fgd": "needs the extractor for motion",
    }


def test_motion_files_are_read_alike(arrays, tmp_path):
    """A clip that the features decode to, saved as SMPL-X, is measured as the features."""
    root, found = arrays
    features = DiffSHEGShow.from_published(STATISTICS)
    (tmp_path / "npz").mkdir()
    for i, array in enumerate(found["generated"]):
        features.decode(features.normalize(torch.from_numpy(array).double())).save(tmp_path / "npz" / f"{i}.npz")
    same = evaluate_folders(
        tmp_path / "npz", root / "generated", protocol="diffsheg_show", statistics=STATISTICS, num_resamples=0
    )
    assert same["mse"].value == pytest.approx(0, abs=1e-10)


def test_problems_are_named(arrays):
    root, _ = arrays
    np.save(root / "generated/gesture/0.npy", np.zeros((20, 232), np.float32))
    (root / "generated/gesture/1.npy").write_bytes(b"\x93NUMPY and no more")
    with pytest.raises(EvaluationError) as error:
        evaluate_folders(
            root / "generated", root / "reference", protocol="diffsheg_show", statistics=STATISTICS, on_error="skip"
        )
    assert "0: too short" in str(error.value)
    assert "1: unreadable" in str(error.value)
