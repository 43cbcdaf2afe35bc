"""Laws of BEAT2 recordings, on a folder that is made here."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.data import (
    WindowShards,
    iter_recordings,
    load_recording,
    load_rest_joints,
    mirror_window,
    read_semantic_scores,
    read_split,
    window_starts,
    write_shards,
)
from cospeech.errors import MotionFileError
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX, local_to_global


def write_take(root: Path, name: str, num_frames: int, num_samples: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    for folder in ("smplxflame_30", "wave16k", "sem"):
        (root / folder).mkdir(exist_ok=True, parents=True)
    poses = 0.3 * generator.standard_normal((num_frames, 165)).astype(np.float32)
    np.savez(
        root / f"smplxflame_30/{name}.npz",
        betas=np.arange(300, dtype=np.float32),
        poses=poses,
        expressions=generator.standard_normal((num_frames, 100)),
        trans=generator.standard_normal((num_frames, 3)),
        mocap_frame_rate=np.array(30),
    )
    with wave.open(str(root / f"wave16k/{name}.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(generator.integers(-9999, 9999, num_samples).astype("<i2").tobytes())
    return poses


@pytest.fixture
def beat2(tmp_path: Path) -> Path:
    write_take(tmp_path, "2_scott_0_1_1", 130, 80_000)
    write_take(tmp_path, "11_nidal_0_2_2", 90, 40_000, seed=1)
    (tmp_path / "train_test_split.csv").write_text(
        "id,type\n2_scott_0_1_1,train\n11_nidal_0_2_2,train\n2_scott_0_3_3,test\n"
    )
    return tmp_path


def test_a_recording_is_what_motion_and_sound_both_cover(beat2: Path) -> None:
    first, second = iter_recordings(beat2, "train")
    assert (first.speaker, second.speaker) == (2, 11)
    assert first.axis_angle.shape == (130, 55, 3)  # 150 frames of sound
    assert len(second.translation) == len(second.semantic) == 75  # 2.5 s of sound
    assert torch.equal(first.betas, torch.arange(300.0))


def test_rotations_are_global(beat2: Path) -> None:
    recording = load_recording(beat2, "2_scott_0_1_1")
    poses = np.load(beat2 / "smplxflame_30/2_scott_0_1_1.npz")["poses"]
    local = axis_angle_to_matrix(torch.from_numpy(poses).double().reshape(-1, 55, 3))
    ours = axis_angle_to_matrix(recording.axis_angle.double())
    torch.testing.assert_close(ours, local_to_global(local, SMPLX), rtol=0, atol=1e-6)


def test_splits_are_named(beat2: Path) -> None:
    assert read_split(beat2, "test") == ["2_scott_0_3_3"]
    with pytest.raises(ValueError, match="Unknown split 'dev'; choose from test, train"):
        read_split(beat2, "dev")


def test_windows_fit_and_are_as_many_as_published() -> None:
    for num_frames in range(200):
        starts = list(window_starts(num_frames))
        assert len(starts) == max(0, (num_frames - 60) // 20 + 1)
        assert all(start + 60 <= num_frames for start in starts)


def test_semantic_scores(tmp_path: Path) -> None:
    path = tmp_path / "sem.txt"
    path.write_text("beat 0.0 1.0 1.0 0.2 x\nno score\niconic 1.0 2.0 1.0 0.8 y\n")
    scores = read_semantic_scores(path, 61)
    torch.testing.assert_close(scores[[0, 15, 45, 60]], torch.tensor([0.2, 0.2, 0.8, 0.8]))
    assert torch.equal(read_semantic_scores(tmp_path / "absent.txt", 5), torch.zeros(5))


def test_windows_of_shards_are_slices_of_recordings(beat2: Path, tmp_path: Path) -> None:
    def levels(windows: torch.Tensor) -> torch.Tensor:
        return windows[:, :120].reshape(len(windows), 60, 2)

    first, second = iter_recordings(beat2, "train")
    count = write_shards([first, second], tmp_path / "out", features=levels, shard_frames=100)
    shards = WindowShards(tmp_path / "out")
    assert count == len(shards) == 4 + 1
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 2
    for index, (recording, start) in enumerate([*((first, 20 * i) for i in range(4)), (second, 0)]):
        window, frames = shards[index], slice(start, start + 60)
        assert torch.equal(window.axis_angle, recording.axis_angle[frames])
        assert torch.equal(window.translation, recording.translation[frames])
        assert torch.equal(window.expressions, recording.expressions[frames])
        sample = start * 16_000 // 30
        assert torch.equal(window.waveform, recording.waveform[sample : sample + 32_000])
        assert torch.equal(window.features, levels(window.waveform[None])[0])
        assert window.speaker.item() == recording.speaker
        assert shards.recording(index) == recording.name
    assert torch.equal(shards[-1].translation, shards[4].translation)
    with pytest.raises(IndexError, match=r"`index` must lie in -5\.\.4; got 5"):
        shards[5]


def test_shards_serve_workers(beat2: Path, tmp_path: Path) -> None:
    import pickle

    write_shards(iter_recordings(beat2, "train"), tmp_path / "out")
    shards = WindowShards(tmp_path / "out")
    first = shards[0]
    copied = pickle.loads(pickle.dumps(shards))
    assert all(torch.equal(a, b) for a, b in zip(first, copied[0], strict=True))
    batch = shards.batch([2, 0])
    assert batch.axis_angle.shape == (2, 60, 55, 3)
    assert torch.equal(batch.translation[1], first.translation)


def test_shards_are_not_mixed_with_older_ones(beat2: Path, tmp_path: Path) -> None:
    write_shards(iter_recordings(beat2, "train"), tmp_path / "out")
    with pytest.raises(FileExistsError, match="holds shards already"):
        write_shards(iter_recordings(beat2, "train"), tmp_path / "out")


def test_files_that_are_no_shards_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(MotionFileError, match="holds no shards"):
        WindowShards(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "0.safetensors")
    with pytest.raises(MotionFileError, match=r"expected a shard of windows, .*; got nothing"):
        WindowShards(tmp_path)
    (tmp_path / "0.safetensors").write_bytes(b"broken")
    with pytest.raises(MotionFileError, match="expected a shard of windows"):
        WindowShards(tmp_path)


def test_a_mirrored_window_mirrored_is_the_window(beat2: Path, tmp_path: Path) -> None:
    write_shards(iter_recordings(beat2, "train"), tmp_path / "out")
    window = WindowShards(tmp_path / "out")[0]
    mirrored = mirror_window(window)
    assert torch.equal(mirrored.translation[:, 0], -window.translation[:, 0])
    assert torch.equal(mirror_window(mirrored).axis_angle, window.axis_angle)
    # Midline joints are mirrored too, unlike in the published flip.
    neck = SMPLX.index("neck")
    assert torch.equal(mirrored.axis_angle[:, neck], window.axis_angle[:, neck] * torch.tensor([1.0, -1.0, -1.0]))


def test_rest_joints_of_speakers(tmp_path: Path) -> None:
    from scipy.io import savemat

    joints = np.asfortranarray(np.random.default_rng(0).standard_normal((55, 3)).astype(np.float32))
    savemat(tmp_path / "rest.mat", {"2": joints, "11": joints[::-1]})
    found = load_rest_joints(tmp_path / "rest.mat")
    assert sorted(found) == [2, 11]
    assert found[2].is_contiguous()
    assert torch.equal(found[2], torch.from_numpy(np.ascontiguousarray(joints)))
    savemat(tmp_path / "other.mat", {"speakers": joints})
    with pytest.raises(MotionFileError, match=r"one \(55, 3\) array per speaker"):
        load_rest_joints(tmp_path / "other.mat")
    whole = (tmp_path / "rest.mat").read_bytes()
    for content in (b"", b"nothing", whole[:150], whole[:-100]):
        (tmp_path / "bad.mat").write_bytes(content)
        with pytest.raises(MotionFileError, match="expected a MATLAB file"):
            load_rest_joints(tmp_path / "bad.mat")
    bad = [joints.T, joints[:54], joints * np.nan, joints.astype(object), joints + 1j, "joints"]
    for value in bad:
        savemat(tmp_path / "bad.mat", {"2": value})
        with pytest.raises(MotionFileError, match="expected 55 x 3 finite numbers for speaker 2; got"):
            load_rest_joints(tmp_path / "bad.mat")
    with pytest.raises(FileNotFoundError):
        load_rest_joints(tmp_path / "none.mat")


def test_scores_and_splits_that_are_none(beat2: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("a 0 1 1 0.5 x\nb 1 two 1 0.5 y\n")
    with pytest.raises(MotionFileError, match=r"expected start, end and score in line 2; got 'b 1 two 1 0.5 y'"):
        read_semantic_scores(tmp_path / "scores.txt", 10)
    (beat2 / "train_test_split.csv").write_text("name,type\n2_scott,train\n")
    with pytest.raises(ValueError, match="expected the columns id and type; missing: id"):
        read_split(beat2, "train")


def test_names_without_a_speaker_are_refused(beat2: Path) -> None:
    write_take(beat2, "scott", 10, 16_000)
    with pytest.raises(MotionFileError, match="begins with the speaker's number"):
        load_recording(beat2, "scott")
