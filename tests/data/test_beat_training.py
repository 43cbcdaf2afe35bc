"""From a folder of BEAT to steps of DiffSHEG's training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import cospeech
from cospeech.cli import main
from cospeech.hub import save_tensors
from cospeech.io import save_arkit_json
from cospeech.training import Clock, diffsheg_losses, load_recipes, read_metrics
from cospeech.training.config import ConfigError
from cospeech.training.diffsheg import draw_diffsheg_step

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
TINY = ["hidden_dim=32", "num_layers=1", "num_heads=2", "feedforward_dim=16", "fusion_dim=16", "condition_dim=32"]
TINY = [f"task.model.{size}" for size in (*TINY, "audio_dim=16", "speech_dim=8", "speech_feature_dim=30")]


def write_take(root: Path, name: str, seconds: int, seed: int) -> None:
    for folder in ("bvh_rot", "facial52", "wave16k", "sem"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    times = np.arange(15 * seconds)[:, None] / 15
    np.savetxt(root / "bvh_rot" / f"{name}.bvh", 20 * np.sin(times + random.uniform(0, 6, 141)), fmt="%.6f")
    save_arkit_json(root / "facial52" / f"{name}.json", torch.from_numpy(random.uniform(size=(15 * seconds, 51))))
    np.save(root / "wave16k" / f"{name}.npy", random.normal(scale=0.1, size=16_000 * seconds).astype(np.float32))
    (root / "sem" / f"{name}.txt").write_text("beat\t0\t1\t1\t0.7\t\n")


@pytest.fixture
def changes(tmp_path: Path) -> list[str]:
    """The published recipe on two takes to learn from, one held out and one of somebody else, and a tiny network."""
    for split, name in (("train", "2_scott_0_1_1"), ("train", "8_catherine_0_2_2"), ("val", "2_scott_0_9_9")):
        write_take(tmp_path / "beat" / split, name, 5, seed=len(name))
    write_take(tmp_path / "beat" / "train", "1_wayne_0_1_1", 5, seed=3)
    data = [f"task.data.source.beat.folder={tmp_path / 'beat'}", f"task.data.prepared={tmp_path / 'shards'}"]
    data += ["task.data.cut.features=diffsheg-prosody", "task.data.prepare_workers=0"]
    run = ["run.steps=3", "run.batch_size=4", "run.validate_every=3", "run.log_every=1", "run.workers=0"]
    return [*TINY, *data, *run, f"run.folder={tmp_path / 'run'}"]


def test_the_published_recipe_learns_from_a_folder_of_beat(
    changes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(RECIPES / "diffsheg" / "beat.toml")
    assert main(["prepare", recipe, *changes]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'shards'}: 10 windows of 2 takes" in said  # (75 - 34) / 10 + 1 = 5 each; speaker 1 is not kept
    assert f"{tmp_path / 'shards'}-val: 5 windows of 1 takes" in said
    assert main(["train", recipe, *changes]) == 0
    lines = read_metrics(tmp_path / "run")
    assert len([line for line in lines if "loss/total" in line]) == 3
    assert np.isfinite(lines[-1]["validation/total"])
    pipeline = cospeech.load_pipeline(tmp_path / "run" / "model")
    motion = pipeline(torch.randn(16_000) / 10, source_rate_hz=16_000, progress=False)
    assert (motion.num_frames, motion.rate_hz) == (15, 15.0)
    assert motion.joints().isfinite().all()


def test_batches_are_normalised_windows_with_their_meaning(changes: list[str], tmp_path: Path) -> None:
    (recipe,) = load_recipes(RECIPES / "diffsheg" / "beat.toml", changes)
    task = recipe.task.build()
    assert (task.num_items, task.num_held_out) == (10, 5)
    batch = task.batch(range(10), torch.Generator())
    assert batch.clean.shape == (10, 34, 192)
    assert (batch.mel.shape, batch.speech.shape) == ((10, 34, 128), (10, 34, 30))
    assert batch.speaker.tolist() == [1] * 5 + [7] * 5  # numbers count from 1, indices from 0
    torch.testing.assert_close(batch.semantic[0], 0.7 * (torch.arange(34) <= 15).float())
    torch.testing.assert_close(batch.clean.flatten(0, 1).mean(0), torch.zeros(192), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch.clean.flatten(0, 1).std(0), torch.ones(192), atol=1e-3, rtol=0)
    clock = Clock(0, 3, 0.0, torch.Generator().manual_seed(0))
    draws = draw_diffsheg_step(task.model, batch.clean, torch.Generator().manual_seed(0))
    task.model.eval()
    found, plain = task.losses(task.model, batch, clock), diffsheg_losses(task.model, batch, draws)
    assert found["clean"] == plain.clean
    assert found["clean"] > diffsheg_losses(task.model, batch._replace(semantic=None), draws).clean


def test_given_statistics_are_used_as_they_are(changes: list[str], tmp_path: Path) -> None:
    sizes = {"axis_angle": 141, "face": 51}
    published = {f"{part}_mean": torch.full((size,), 0.1, dtype=torch.float64) for part, size in sizes.items()}
    published |= {f"{part}_std": torch.full((size,), 2.0, dtype=torch.float64) for part, size in sizes.items()}
    save_tensors(published, tmp_path / "published.safetensors")
    (recipe,) = load_recipes(
        RECIPES / "diffsheg" / "beat.toml", [*changes, f"task.statistics={tmp_path / 'published.safetensors'}"]
    )
    task = recipe.task.build()
    window = task.data.batch([2])
    batch = task.batch([2], torch.Generator())
    assert batch.clean.dtype == torch.float32
    torch.testing.assert_close(batch.clean[..., :141], (window.axis_angle.flatten(2) - 0.1) / 2)
    torch.testing.assert_close(batch.clean[..., 141:], (window.expressions - 0.1) / 2)
    save_tensors({"axis_angle_mean": published["axis_angle_mean"]}, tmp_path / "published.safetensors")
    with pytest.raises(ValueError, match=r"axis_angle_std is missing"):
        recipe.task.build()


def test_a_model_and_windows_of_other_joints_are_refused(changes: list[str], tmp_path: Path) -> None:
    (beat,) = load_recipes(RECIPES / "diffsheg" / "beat.toml", changes)
    show = ["task.model.gesture_dim=129", "task.model.expression_dim=103"]
    (other,) = load_recipes(RECIPES / "diffsheg" / "beat.toml", [*changes, *show])
    with pytest.raises(ValueError, match="made for windows of 55 joints; `data` has 47"):
        other.task.build()
    smplx = dataclasses.replace(beat.task.rehearsal(tmp_path), data=beat.task.data.rehearsal(tmp_path))
    with pytest.raises(ValueError, match="made for windows of 47 joints; `data` has 55"):
        smplx.build()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task.model.gesture_dim=140", "141 and 51 or 129 and 103; got 140 and 51"),
        ("task.data.held_out=test", None),
        ("task.data.source.beat.split=''", "`held_out` must be none or tenths, or another split where the source has"),
        ("task.data.source.retarget=beat", "`retarget` must not be set for beat"),
        ("task.data.source.retarget=smplx", "task.data.source.retarget must be"),
        ("task.data.source.procedural.clips=1", "one table of beat2, beat, npz_folder, files and procedural is wanted"),
    ],
)
def test_what_does_not_fit_is_named(change: str, message: str | None) -> None:
    if message is None:
        assert load_recipes(RECIPES / "diffsheg" / "beat.toml", [change])
        return
    with pytest.raises(ConfigError, match=message):
        load_recipes(RECIPES / "diffsheg" / "beat.toml", [change])


@pytest.mark.parametrize("name", ["diffsheg/beat", "diffsheg/show", "small/diffsheg-beat"])
def test_a_dry_run_needs_no_data(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(RECIPES / f"{name}.toml"), *TINY[:-1], "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out
