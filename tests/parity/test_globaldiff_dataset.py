"""Building the data set from BEAT2's files, and reading the published data base."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.io import savemat

from cospeech.data import WindowShards, iter_recordings, load_rest_joints, write_shards
from cospeech.data.globaldiff_lmdb import GlobalDiffLMDB
from cospeech.losses import bone_vectors
from cospeech.skeleton import SMPLX

FOLDER = Path(os.environ.get("COSPEECH_GOLDEN", Path(__file__).resolve().parents[2].parent / "shared" / "golden"))


def names_and_sizes(case):
    """Entries of the published data base: key, bytes, text (of those that are not rows of numbers)."""
    return json.loads(case.settings["keys"])


def name_of(case):
    return next(text for _, _, text in names_and_sizes(case) if text.endswith(".npz")).removesuffix(".npz")


@pytest.fixture
def shards(case, tmp_path):
    """The case's recording as a BEAT2 folder, cut into shards."""
    given, name = case.inputs, name_of(case)
    for folder in ("smplxflame_30", "wave16k", "sem"):
        (tmp_path / folder).mkdir()
    poses = given["poses"].numpy()
    np.savez(
        tmp_path / f"smplxflame_30/{name}.npz",
        betas=np.zeros(300, dtype=np.float32),
        poses=poses,
        expressions=np.zeros((len(poses), 100), dtype=np.float32),
        trans=given["trans"].numpy(),
        mocap_frame_rate=np.array(30),
    )
    with wave.open(str(tmp_path / f"wave16k/{name}.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(given["audio_i16"].numpy().astype("<i2").tobytes())
    (tmp_path / f"sem/{name}.txt").write_text(case.settings["sem_file"])
    (tmp_path / "train_test_split.csv").write_text(f"id,type\n{name},train\n")
    write_shards(iter_recordings(tmp_path, "train"), tmp_path / "shards")
    return WindowShards(tmp_path / "shards")


@pytest.mark.case("globaldiff_dataset")
def test_windows(case, shards):
    expected = case.outputs
    assert len(shards) == expected["num"].item()
    for key, value in expected.items():
        kind, _, rest = key.partition("_")
        if not rest[:1].isdigit():
            continue
        window = shards[int(rest.split("_")[0])]
        if kind == "poses":
            ours = window.axis_angle.flatten(1)
            every = -(-len(ours) // len(value))
            torch.testing.assert_close(ours[::every], value, rtol=0, atol=1e-6)
        elif kind == "trans":
            assert torch.equal(window.translation, value)
        elif kind == "sem":
            torch.testing.assert_close(window.semantic, value[:, 0], rtol=0, atol=1e-6)
        elif rest.endswith("head"):
            assert torch.equal(window.waveform[: len(value)], value)
        else:
            assert len(window.waveform) == value.item()


@pytest.mark.case("globaldiff_dataset")
def test_bone_lengths(case, tmp_path):
    """Those of the case's speaker, from a file of rest joints in the published layout."""
    with safe_open(FOLDER / "smplx_rest_joints.safetensors", framework="pt") as file:
        speakers, joints = file.get_tensor("speaker_ids").tolist(), file.get_tensor("rest_joints")
    arrays = {str(speaker): rest.numpy() for speaker, rest in zip(speakers, joints, strict=True)}
    savemat(tmp_path / "rest_joint_position.mat", arrays)
    found = load_rest_joints(tmp_path / "rest_joint_position.mat")
    assert list(found) == speakers
    bones = bone_vectors(found[int(name_of(case).split("_")[0])], SMPLX)
    torch.testing.assert_close(bones.norm(dim=-1), case.outputs["bone_length"], rtol=0, atol=1e-6)


@pytest.mark.case("globaldiff_dataset")
def test_published_data_base(case, shards, tmp_path):
    """A data base with the case's keys and sizes comes back as the same windows."""
    lmdb = pytest.importorskip("lmdb", reason="needs the extra 'data'")
    environment = lmdb.open(str(tmp_path / "published.lmdb"), map_size=1 << 26)
    with environment.begin(write=True) as transaction:
        for key, size, text in names_and_sizes(case):
            value = text.encode()
            if not text:
                window = shards[int(key)]
                motion = window.axis_angle, window.expressions, window.translation, window.semantic
                parts = [torch.zeros(300), *motion, window.speaker[None].float(), window.waveform]
                value = torch.cat([part.flatten() for part in parts]).numpy().tobytes()
            assert len(value) == size
            transaction.put(key.encode(), value)
    environment.close()
    features = lmdb.open(str(tmp_path / "features.lmdb"), map_size=1 << 26)
    with features.begin(write=True) as transaction:
        for index in range(len(shards)):
            transaction.put(f"{index:010d}".encode(), torch.full((60, 1024), float(index)).numpy().tobytes())
    features.close()

    with GlobalDiffLMDB(tmp_path / "published.lmdb", tmp_path / "features.lmdb") as published:
        assert len(published) == len(shards)
        for index in range(len(shards)):
            ours, theirs = shards[index], published[index]
            assert all(torch.equal(a, b) for a, b in zip(ours[:-1], theirs[:-1], strict=True))
            assert torch.equal(theirs.features, torch.full((60, 1024), float(index)))
        assert published.file_name(0) == name_of(case) + ".npz"
        assert torch.equal(published.betas(0), torch.zeros(300))
