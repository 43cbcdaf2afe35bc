"""BEAT, version 1: both layouts, the published windows, and what is wrong is named."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.io import wavfile
from scipy.spatial.transform import Rotation

from cospeech.audio import mel_spectrogram, resample
from cospeech.audio.diffsheg import HubertTrack, stretch_frames
from cospeech.audio.speech import normalize_waveform
from cospeech.data.beat import BeatSource, beat_axis_angle, beat_semantic_scores
from cospeech.data.beat_retargeted import BeatRetargeted
from cospeech.data.prepare import WindowMaker, prepare
from cospeech.data.shards import WindowShards
from cospeech.data.sources import ProceduralSource
from cospeech.errors import MotionFileError
from cospeech.io import save_arkit_json, save_beat_bvh
from cospeech.skeleton import BEAT_ARKIT_NAMES

MAKER = WindowMaker(window_frames=34, stride_frames=10, features="diffsheg-prosody")


def rows(num_frames: int, seed: int = 0, rate_hz: float = 15) -> np.ndarray:
    """Degrees of 141 angles, smooth and within a range that needs no wrap."""
    phase = np.random.default_rng(seed).uniform(0, 6, 141)
    return 30 * np.sin(phase + np.arange(num_frames)[:, None] / rate_hz)


def weights(num_frames: int) -> torch.Tensor:
    return torch.linspace(0, 1, num_frames, dtype=torch.float64)[:, None].repeat(1, 51) * torch.arange(51) / 51


def sound(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=num_samples).astype(np.float32)


def write_cached(root: Path, name: str, *, frames: int = 95, faces: int = 92, samples: int = 16_000 * 6 + 500) -> None:
    for folder in ("bvh_rot", "facial52", "wave16k", "sem"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    np.savetxt(root / "bvh_rot" / f"{name}.bvh", rows(frames), fmt="%.9f")
    save_arkit_json(root / "facial52" / f"{name}.json", weights(faces))
    np.save(root / "wave16k" / f"{name}.npy", sound(samples))
    (root / "sem" / f"{name}.txt").write_text("a word\t0.5\t1.0\t0.5\t0.8\tyes\nbeat\t0.9\t2\t1.1\t0.1\t\n")


def test_a_take_of_the_cache_is_cut_to_whole_seconds(tmp_path: Path) -> None:
    write_cached(tmp_path / "train", "2_scott_0_1_1")
    source = BeatSource(folder=str(tmp_path), split="train")
    assert source.names() == ["2_scott_0_1_1"]
    take = source.load("2_scott_0_1_1")
    assert (take.speaker, take.rate_hz) == (2, 15)
    assert len(take.axis_angle) == len(take.expressions) == len(take.semantic) == len(take.departure) == 90
    assert len(take.waveform) == 96_000
    angles = Rotation.from_euler("XYZ", rows(95)[:90].reshape(-1, 3), degrees=True)
    found = Rotation.from_rotvec(take.axis_angle.reshape(-1, 3).numpy())
    assert (angles.inv() * found).magnitude().max() < 1e-6
    torch.testing.assert_close(take.expressions, weights(92)[:90].float())
    np.testing.assert_array_equal(take.waveform.numpy(), sound(96_500)[:96_000])


def test_windows_are_the_published_cut(tmp_path: Path) -> None:
    """34 frames from frame 10 i, 36,266 samples from floor(10 i 16000 / 15), as many as the published rule counts."""
    write_cached(tmp_path / "data", "4_lawrence_0_3_3")
    source = BeatSource(folder=str(tmp_path / "data"))
    report = prepare(source, tmp_path / "shards", MAKER)
    seconds = 6
    assert report.windows == math.floor((15 * seconds - 34) / 10) + 1 == 6
    shards, take = WindowShards(tmp_path / "shards"), source.load("4_lawrence_0_3_3")
    for i in range(6):
        window = shards[i]
        assert window.axis_angle.shape == (34, 47, 3)
        torch.testing.assert_close(window.axis_angle, take.axis_angle[10 * i : 10 * i + 34])
        torch.testing.assert_close(window.expressions, take.expressions[10 * i : 10 * i + 34])
        torch.testing.assert_close(window.semantic, take.semantic[10 * i : 10 * i + 34])
        start = math.floor(i * 10 * 16000 / 15)
        np.testing.assert_array_equal(window.waveform, sound(96_500)[start : start + 36_266])
        assert int(window.speaker) == 4
        assert window.features.shape == (34, 128 + 30)


def test_each_window_is_heard_alone_at_15_hz(tmp_path: Path) -> None:
    """Its mel is that of its own samples at 18 kHz: 40,800 of them, of 35 frames the first 34."""
    write_cached(tmp_path / "data", "2_scott_0_1_1")
    prepare(BeatSource(folder=str(tmp_path / "data")), tmp_path / "shards", MAKER)
    window = WindowShards(tmp_path / "shards")[3]
    heard = resample(window.waveform, 16000, 18000)
    assert len(heard) == 40_800
    mel = mel_spectrogram(heard, rate_hz=18000, hop_samples=1200)
    assert mel.shape == (35, 128)
    torch.testing.assert_close(window.features[:, :128], mel[:34])


def test_hubert_hears_each_window_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples of one window at a time, normalised on their own; 113 features become 34. A stand-in hears."""
    lengths = []

    class Encoder(torch.nn.Module):
        rate_hz, feature_dim = 16_000, 1024

        def encoder(self, waveform: torch.Tensor) -> SimpleNamespace:
            lengths.append(waveform.shape)
            assert waveform.std() == pytest.approx(1, abs=1e-3)
            steps = waveform[0].unfold(0, 400, 320).mean(1)
            return SimpleNamespace(last_hidden_state=steps[None, :, None].expand(1, -1, 1024))

    monkeypatch.setattr(HubertTrack, "load", lambda: HubertTrack(Encoder()))
    write_cached(tmp_path / "data", "2_scott_0_1_1")
    maker = WindowMaker(window_frames=34, stride_frames=10, features="diffsheg-hubert")
    prepare(BeatSource(folder=str(tmp_path / "data")), tmp_path / "shards", maker)
    assert lengths == [(1, 36_266)] * 6
    window = WindowShards(tmp_path / "shards")[2]
    assert window.features.shape == (34, 128 + 1024)
    steps = normalize_waveform(window.waveform).unfold(0, 400, 320).mean(1)
    assert len(steps) == 113
    torch.testing.assert_close(window.features[:, -1], stretch_frames(steps[:, None], 34)[:, 0])


def test_the_authors_layout_gives_the_same_take(tmp_path: Path) -> None:
    folder = tmp_path / "beat" / "2"
    folder.mkdir(parents=True)
    fast = torch.from_numpy(rows(6 * 120, rate_hz=120))
    save_beat_bvh(folder / "2_scott_0_1_1.bvh", fast, rate_hz=120)
    save_arkit_json(folder / "2_scott_0_1_1.json", weights(6 * 60), rate_hz=60)
    wavfile.write(folder / "2_scott_0_1_1.wav", 16000, sound(96_000))
    source = BeatSource(folder=str(tmp_path / "beat"), speakers=(2,))
    assert source.names() == ["2/2_scott_0_1_1"]
    take = source.load("2/2_scott_0_1_1")
    assert len(take.axis_angle) == 90
    slow = Rotation.from_euler("XYZ", rows(90).reshape(-1, 3), degrees=True)
    found = Rotation.from_rotvec(take.axis_angle.reshape(-1, 3).numpy())
    assert (slow.inv() * found).magnitude().max() < 1e-5
    torch.testing.assert_close(take.expressions, weights(360)[::4].float())
    assert take.semantic.sum() == 0  # there is no annotation


def test_speakers_and_splits_are_chosen(tmp_path: Path) -> None:
    for split, name in (("train", "2_scott_0_1_1"), ("train", "12_zoe_0_1_1"), ("val", "2_scott_0_9_9")):
        write_cached(tmp_path / split, name)
    assert BeatSource(folder=str(tmp_path), split="train").names() == ["12_zoe_0_1_1", "2_scott_0_1_1"]
    assert BeatSource(folder=str(tmp_path), split="train", speakers=(2,)).names() == ["2_scott_0_1_1"]
    with pytest.raises(MotionFileError, match="expected a folder of BEAT"):
        BeatSource(folder=str(tmp_path), split="test").names()


def test_scores_are_those_of_the_first_interval(tmp_path: Path) -> None:
    text = "a word\t0.5\t1.0\t0.5\t0.8\tyes\nbeat\t0.9\t2\t1.1\t0.1\t\nlate\t30.0\t30.2\t0.2\t0.5\t\n"
    for name in ("2_scott_0_1_1.txt", "2_scott_0_4_4_b.txt", "2_scott_0_3_3_b.txt"):
        (tmp_path / name).write_text(text + "later\t300.1\t300.3\t0.2\t0.6\t\n")
    scores = beat_semantic_scores(tmp_path / "2_scott_0_1_1.txt", 45)
    slow = torch.zeros(45)
    for i in range(45):
        slow[i] = 0.8 if 0.5 <= i / 15 <= 1.0 else 0.1 if 0.9 <= i / 15 <= 2 else 0.0
    torch.testing.assert_close(scores, slow)
    late = beat_semantic_scores(tmp_path / "2_scott_0_4_4_b.txt", 10)  # an even number: 30 s later
    torch.testing.assert_close(late, torch.tensor([0.5] * 4 + [0.0] * 6))
    later = beat_semantic_scores(tmp_path / "2_scott_0_3_3_b.txt", 10)  # an odd one: 300 s
    torch.testing.assert_close(later, torch.tensor([0.0] * 2 + [0.6] * 3 + [0.0] * 5))
    assert not beat_semantic_scores(tmp_path / "none.txt", 5).any()


def test_windows_at_the_mean_pose_are_left_out(tmp_path: Path) -> None:
    write_cached(tmp_path, "2_scott_0_1_1", frames=90)
    degrees = rows(90)
    degrees[40:80] = degrees[40] + 0.01  # still, and 0.01 degrees from the mean pose below
    np.savetxt(tmp_path / "bvh_rot" / "2_scott_0_1_1.bvh", degrees, fmt="%.9f")
    np.save(tmp_path / "bvh_rot" / "bvh_mean.npy", degrees[40])
    maker = WindowMaker(window_frames=34, stride_frames=10, least_departure=0.02)
    source = BeatSource(folder=str(tmp_path))
    assert prepare(source, tmp_path / "shards", maker).windows == 5  # of 6, that from frame 40 is gone
    starts = WindowShards(tmp_path / "shards").shards[0].windows[:, 0].tolist()
    assert starts == [0, 10, 20, 30, 50]
    torch.testing.assert_close(
        source.load("2_scott_0_1_1").departure,
        torch.from_numpy(np.abs(degrees - degrees[40]).mean(1)).float(),
        rtol=1e-5,
        atol=1e-7,
    )


def test_bad_takes_are_left_out_and_named(tmp_path: Path) -> None:
    names = ("good", "pickle", "nan", "faceless", "fast", "short", "words", "number", "shouting", "cut")
    files = {name: f"2_{name}_0_1_1" for name in names} | {"number": "scott_0_1_1"}
    for name in names:
        write_cached(tmp_path, files[name], **({"frames": 20} if name == "short" else {}))
    np.save(tmp_path / "wave16k" / f"{files['pickle']}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    degrees = rows(95)
    degrees[5, 7] = np.nan
    np.savetxt(tmp_path / "bvh_rot" / f"{files['nan']}.bvh", degrees)
    (tmp_path / "facial52" / f"{files['faceless']}.json").unlink()
    np.savetxt(tmp_path / "bvh_rot" / f"{files['fast']}.bvh", rows(6 * 120), fmt="%.6f")  # 120 Hz taken for 15
    (tmp_path / "sem" / f"{files['words']}.txt").write_text("beat\tsoon\tlater\t?\thigh\t\n")
    np.save(tmp_path / "wave16k" / f"{files['shouting']}.npy", np.zeros((2, 96_000), dtype=np.int64))
    whole = (tmp_path / "wave16k" / f"{files['cut']}.npy").read_bytes()
    (tmp_path / "wave16k" / f"{files['cut']}.npy").write_bytes(whole[:1000])
    with pytest.raises(MotionFileError, match="begins with the speaker's number"):
        BeatSource(folder=str(tmp_path), speakers=(2,)).names()
    report = prepare(BeatSource(folder=str(tmp_path)), tmp_path / "shards", WindowMaker(window_frames=34))
    assert report.takes == 1
    said = {
        "pickle": "expected an array of numbers",
        "nan": "NaN or infinity",
        "faceless": "No such file",
        "fast": "expected one length of all; got motion 48.0 s, face 6.1 s, sound 6.0 s",
        "short": "expected one length of all; got motion 1.3 s",
        "words": "expected start, end and score in line 1",
        "number": "begins with the speaker's number",
        "shouting": "int64 (2, 96000)",
        "cut": "expected an array of numbers",
    }
    assert report.left_out.keys() == {files[name] for name in said}
    for name, text in said.items():
        assert text in report.left_out[files[name]], report.left_out[files[name]]


def test_a_published_output_is_no_recording(tmp_path: Path) -> None:
    write_cached(tmp_path, "2_scott_0_1_1")
    save_beat_bvh(tmp_path / "bvh_rot" / "2_scott_0_1_1.bvh", torch.from_numpy(rows(90)), strict_upstream=True)
    with pytest.raises(MotionFileError, match="it lacks frame 0"):
        BeatSource(folder=str(tmp_path)).load("2_scott_0_1_1")


def test_a_change_of_a_file_or_of_the_mean_is_seen(tmp_path: Path) -> None:
    write_cached(tmp_path, "2_scott_0_1_1")
    source = BeatSource(folder=str(tmp_path))
    before = source.fingerprint("2_scott_0_1_1")
    assert before == source.fingerprint("2_scott_0_1_1")
    np.save(tmp_path / "bvh_rot" / "bvh_mean.npy", np.zeros(141))
    with_mean = source.fingerprint("2_scott_0_1_1")
    os.utime(tmp_path / "sem" / "2_scott_0_1_1.txt", ns=(1, 1))
    assert len({before, with_mean, source.fingerprint("2_scott_0_1_1")}) == 3
    np.save(tmp_path / "bvh_rot" / "bvh_mean.npy", np.zeros(3))
    with pytest.raises(MotionFileError, match=r"expected 141 finite angles; got float64 \(3,\)"):
        source.load("2_scott_0_1_1")


def test_long_turns_are_on_the_published_side() -> None:
    """The largest number of the quaternion is positive; the rotation stays the same."""
    turns = Rotation.random(500, random_state=0)
    found = beat_axis_angle(torch.from_numpy(turns.as_rotvec()))
    assert (turns.inv() * Rotation.from_rotvec(found.numpy())).magnitude().max() < 1e-9
    angle = found.norm(dim=-1, keepdim=True)
    quaternion = torch.cat([(angle / 2).cos(), found / angle * (angle / 2).sin()], dim=-1)
    assert (quaternion.gather(-1, quaternion.abs().argmax(-1, keepdim=True)) > 0).all()
    assert (angle > math.pi).any()
    assert torch.equal(beat_axis_angle(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_smplx_takes_stand_in(tmp_path: Path) -> None:
    source = BeatRetargeted(ProceduralSource(clips=1, seconds=5.5))
    take = source.load(source.names()[0])
    assert take.axis_angle.shape == (75, 47, 3)
    assert take.rate_hz == 15
    jaw = BEAT_ARKIT_NAMES.index("jawOpen")
    assert take.expressions[:, jaw].max() > 0.05
    assert take.expressions.sum() == take.expressions[:, jaw].sum()
    report = prepare(source, tmp_path, WindowMaker(window_frames=34, stride_frames=10))
    assert (report.windows, report.left_out) == (5, {})


def test_takes_of_two_rates_do_not_share_a_shard(tmp_path: Path) -> None:
    plain = ProceduralSource(clips=1, seconds=5)
    takes = [plain.load(plain.names()[0]), BeatRetargeted(plain).load(plain.names()[0])]
    with pytest.raises(ValueError, match="must share one frame rate; got 15, 30 Hz"):
        WindowMaker(window_frames=34).write(takes, tmp_path / "x.safetensors")


def test_shards_that_tell_no_rate_are_30_hz(tmp_path: Path) -> None:
    """Those that were written before there were others."""
    prepare(ProceduralSource(clips=1, seconds=3), tmp_path, WindowMaker(window_frames=30))
    (path,) = tmp_path.glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        ((kind, settings),) = file.metadata().items()
    old = {name: value for name, value in json.loads(settings).items() if name != "rate_hz"}
    before = [tensor.clone() for tensor in WindowShards(tmp_path)[1]]
    save_file(
        {name: tensor.clone() for name, tensor in load_file(path).items()}, path, metadata={kind: json.dumps(old)}
    )
    assert all(torch.equal(a, b) for a, b in zip(before, WindowShards(tmp_path)[1], strict=True))
    assert WindowShards(tmp_path).shards[0].rate_hz == 30
