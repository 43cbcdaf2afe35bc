"""Means and deviations in every form that papers release them in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cospeech.errors import EvaluationError
from cospeech.evaluation import load_statistics
from cospeech.evaluation.statistics import named_statistics

ARRAYS = {"bvh_mean": np.arange(4.0), "bvh_std": np.ones(4), "json_mean": np.zeros(2), "json_std": np.ones(2)}


def test_every_form_gives_the_same(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, array in ARRAYS.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    np.savez(tmp_path / "a.npz", **ARRAYS)
    save_file({name: torch.from_numpy(array) for name, array in ARRAYS.items()}, tmp_path / "a.safetensors")
    for source in (tmp_path / "folder", tmp_path / "a.npz", tmp_path / "a.safetensors", ARRAYS):
        found = load_statistics(source)
        assert found.keys() == {"euler_mean", "euler_std", "face_mean", "face_std"}
        mean, std = named_statistics(found, "euler", 4)
        assert mean.tolist() == [0, 1, 2, 3]
        assert std.dtype == torch.float64
    assert named_statistics(load_statistics({"Mean": np.zeros(3), "Std": np.ones(3)}), "", 3)[0].tolist() == [0, 0, 0]


def test_what_does_not_fit_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "a.safetensors").write_bytes(b"x")
    for source in (tmp_path / "a.npz", tmp_path / "a.safetensors", tmp_path / "nowhere.safetensors"):
        with pytest.raises(EvaluationError, match="with means and deviations"):
            load_statistics(source)
    with pytest.raises(EvaluationError, match="must hold finite arrays; euler_mean"):
        load_statistics({"bvh_mean": np.array([np.nan])})
    with pytest.raises(EvaluationError, match="must hold finite arrays; it holds none"):
        load_statistics({})
    with pytest.raises(EvaluationError, match="must hold 5 numbers; got 4 and 4"):
        named_statistics(load_statistics(ARRAYS), "euler", 5)
    with pytest.raises(EvaluationError, match="euler_std must not be 0"):
        named_statistics(load_statistics(ARRAYS | {"bvh_std": np.zeros(4)}), "euler", 4)
