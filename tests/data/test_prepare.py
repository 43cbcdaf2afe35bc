"""Preparation leaves out what is bad and says so, does nothing twice, and survives a kill."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from cospeech.data import WindowShards
from cospeech.data.beat2 import Recording
from cospeech.data.clips import ClipMaker, ClipShards, HumanML272Source, MotionFeatures
from cospeech.data.prepare import WindowMaker, broken_shards, prepare
from cospeech.data.sources import NpzFolderSource, ProceduralSource
from cospeech.errors import MotionFileError
from cospeech.motion import Motion

MAKER = WindowMaker(window_frames=30, stride_frames=15)


@dataclasses.dataclass(frozen=True)
class Takes:
    """Recordings of random numbers; names say what is wrong with each."""

    good: int = 5

    def names(self) -> list[str]:
        return [f"good-{n}" for n in range(self.good)] + ["nan", "short", "jump", "silent", "soundless", "broken"]

    def load(self, name: str) -> Recording:
        if name == "broken":
            raise MotionFileError("broken: expected an archive.")
        frames = 20 if name == "short" else 75
        generator = torch.Generator().manual_seed(len(name) + sum(map(ord, name)))
        samples = frames * 16000 // 30 // (3 if name == "soundless" else 1)
        translation = torch.zeros(frames, 3)
        translation[40:] = 3.0 if name == "jump" else 0.0
        expressions = torch.randn(frames, 100, generator=generator)
        if name == "nan":
            expressions[3, 5] = torch.nan
        waveform = torch.randn(samples, generator=generator) * (name != "silent")
        rotations = 0.1 * torch.randn(frames, 55, 3, generator=generator)
        return Recording(name, 1, rotations, translation, expressions, torch.zeros(300), torch.zeros(frames), waveform)

    def fingerprint(self, name: str) -> str:
        return name


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_bad_takes_are_left_out_and_named(tmp_path: Path) -> None:
    report = prepare(Takes(), tmp_path, MAKER, takes_per_shard=4)
    assert report.takes == 5
    assert report.windows == len(WindowShards(tmp_path)) == 5 * 4
    begins = {"nan": "not finite: expressions", "short": "short: 0.67 s", "jump": "jumps", "silent": "silent"}
    begins |= {"soundless": "sound of", "broken": "unreadable: broken: expected an archive"}
    assert report.left_out.keys() == begins.keys()
    assert all(report.left_out[name].startswith(text) for name, text in begins.items())
    assert json.loads((tmp_path / "report.json").read_text())["left_out"] == report.left_out


def test_it_is_idempotent_and_follows_changes(tmp_path: Path) -> None:
    assert prepare(Takes(), tmp_path, MAKER, takes_per_shard=4).made == 3
    before = contents(tmp_path)
    assert prepare(Takes(), tmp_path, MAKER, takes_per_shard=4).made == 0
    assert contents(tmp_path) == before
    assert prepare(Takes(good=6), tmp_path, MAKER, takes_per_shard=4).made == 2  # the first shard stays as it is
    assert prepare(Takes(good=6), tmp_path, dataclasses.replace(MAKER, stride_frames=30)).made == 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 1  # those of the old settings are gone


def test_what_a_kill_leaves_is_made_whole_and_checksums_tell_damage(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    prepare(Takes(), whole, MAKER, takes_per_shard=4)
    shutil.copytree(whole, cut)
    entry = sorted(cut.glob("*.shard.json"))[0]
    entry.with_name(entry.name.replace(".shard.json", ".safetensors")).write_bytes(b"half a sha")
    entry.unlink()  # written last, so a kill while writing leaves no entry
    (cut / "index.json").unlink()
    assert prepare(Takes(), cut, MAKER, takes_per_shard=4).made == 1
    assert contents(cut) == contents(whole)
    assert broken_shards(cut) == []
    shard = sorted(cut.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    assert broken_shards(cut) == [shard.name]


def test_processes_make_the_same_shards(tmp_path: Path) -> None:
    source = ProceduralSource(clips=2, seconds=3.0)
    prepare(source, tmp_path / "here", MAKER, takes_per_shard=1)
    prepare(source, tmp_path / "there", MAKER, takes_per_shard=1, workers=1, progress=False)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_a_folder_of_npz_and_wav_and_one_of_another_rate(tmp_path: Path) -> None:
    motion = Motion(local_axis_angle=torch.zeros(75, 55, 3), translation=torch.zeros(75, 3), rate_hz=30)
    sound = (1000 * np.sin(np.arange(40_000))).astype(np.int16)
    for name, rate in (("ada/one", 30), ("bob/two", 30), ("bob/slow", 25)):
        path = tmp_path / "show" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataclasses.replace(motion, rate_hz=rate).save(path)
        wavfile.write(path.with_suffix(".wav"), 16000, sound)
    report = prepare(NpzFolderSource(folder=str(tmp_path / "show")), tmp_path / "shards", MAKER)
    assert report.takes == 2
    assert "at 25 Hz" in report.left_out["bob/slow"]
    assert {int(window.speaker) for window in WindowShards(tmp_path / "shards")} == {1, 2}


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(MotionFileError, match="no take could be used"):
        prepare(ProceduralSource(clips=1, seconds=1.0), tmp_path, MAKER)


def test_clips_of_272_features(tmp_path: Path) -> None:
    root = tmp_path / "humanml"
    for folder in ("motion_data", "texts", "split"):
        (root / folder).mkdir(parents=True)
    lengths = {"a": 70, "b": 50, "c": 10, "d": 60}
    clips = {name: np.random.default_rng(0).normal(size=(n, 272)).astype(np.float32) for name, n in lengths.items()}
    clips["d"][5, 5] = np.inf
    for name, clip in clips.items():
        np.save(root / "motion_data" / f"{name}.npy", clip)
        (root / "texts" / f"{name}.txt").write_text(f"walks {name}#x#0.0#0.0\nturns#x#0.5#1.0\n")
    (root / "split" / "train.txt").write_text("\n".join(lengths))
    report = prepare(HumanML272Source(folder=str(root)), tmp_path / "shards", ClipMaker())
    assert report.left_out.keys() == {"c", "d"}
    shards = ClipShards(tmp_path / "shards")
    assert (shards.names, shards.lengths) == (["a", "b"], [70, 50])
    np.testing.assert_array_equal(shards.frames(1, 10, 20), clips["b"][10:20])
    np.testing.assert_array_equal(shards.frames(0), clips["a"])
    assert [caption.text for caption in shards.captions[1]] == ["walks b", "turns"]
    prepare(MotionFeatures(ProceduralSource(clips=1, seconds=2.0)), tmp_path / "made", ClipMaker())
    assert ClipShards(tmp_path / "made").frames(0).shape == (60, 272)
