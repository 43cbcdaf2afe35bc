"""Folders as BEAT's programs have them, against their own steps written plainly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.audio import load_audio
from cospeech.cli import main
from cospeech.errors import EvaluationError
from cospeech.evaluation import evaluate_folders
from cospeech.evaluation.beat_folders import beat_semantic_scores
from cospeech.io import save_arkit_json, save_beat_bvh
from cospeech.metrics import beat2022_alignment, beat2022_onsets, frechet_distance
from cospeech.models import GestureAutoencoder, GestureAutoencoderConfig
from cospeech.representations import DiffSHEGBeat, beat_euler_degrees
from cospeech.rotations import euler_to_matrix, matrix_to_axis_angle

NAMES = ("2_scott_0_1_1", "2_scott_0_2_2", "4_lawrence_1_1_1_b")


def walk(num_frames: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(num_frames, 141, generator=generator, dtype=torch.float64)
    return 10 * torch.randn(141, generator=generator, dtype=torch.float64) + steps.cumsum(0) * 0.7


@pytest.fixture(scope="module")
def folders(tmp_path_factory, save_wav):
    root = tmp_path_factory.mktemp("beat")
    motions = {}
    for number, name in enumerate(NAMES):
        reference = walk(160 + 15 * number, number)
        generated = reference + walk(len(reference), 10 + number) * 0.1
        for folder in ("reference", "generated/gesture/bvh", "generated/expression/face_json", "sem", "audio"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        save_beat_bvh(root / "reference" / f"{name}.bvh", reference)
        save_beat_bvh(root / "generated/gesture/bvh" / f"res_{name}.bvh", generated)
        weights = [torch.rand(len(reference), 51, dtype=torch.float64) for _ in range(2)]
        save_arkit_json(root / "reference" / f"{name}.json", weights[0])
        save_arkit_json(root / "generated/expression/face_json" / f"res_{name}.json", weights[1])
        lines = (
            "01_beat\t0.0\t5.0\t5.0\t0.1\tso\n03_icon\t4.0\t9.0\t5.0\t0.9\tthere\n04\t300.5\t304.0\t3.5\t0.7\tthen\n"
        )
        (root / "sem" / f"{name}.txt").write_text(lines)
        beats = torch.arange(16 * 16_000) % (9000 + 1000 * number) < 3000
        save_wav(root / "audio" / f"{name}.wav", 0.3 * torch.randn(len(beats)) * beats, 16_000)
        motions[name] = (generated, reference, weights[1], weights[0])
    return root, motions


@pytest.fixture(scope="module")
def statistics():
    generator = torch.Generator().manual_seed(5)
    return {
        "euler_mean": torch.randn(141, generator=generator),
        "euler_std": 5 + torch.rand(141, generator=generator),
        "axis_angle_mean": 0.1 * torch.randn(141, generator=generator),
        "axis_angle_std": 0.2 + torch.rand(141, generator=generator),
        "face_mean": torch.rand(51, generator=generator),
        "face_std": 0.3 + torch.rand(51, generator=generator),
    }


def autoencoder(dim: int) -> GestureAutoencoder:
    torch.manual_seed(0)
    return GestureAutoencoder(GestureAutoencoderConfig(motion_dim=dim)).eval()


@torch.inference_mode()
def test_beat2022_is_the_published_test(folders, statistics):
    """The steps of CaMN's test program, one after the other, on the motions before they were written to files."""
    root, motions = folders
    network = autoencoder(141)
    found = evaluate_folders(
        root / "generated",
        root / "reference",
        protocol="beat2022",
        audio=root / "audio",
        semantic=root / "sem",
        extractor=network,
        statistics=statistics,
        num_resamples=4,
    )
    assert found.clips == tuple(sorted(NAMES))
    assert not found.omitted
    network.train()
    features, l1_total, l1_rows, srgr, frames, aligned = ([], []), 0.0, 0, 0.0, 0, []
    for name in sorted(NAMES):
        generated, reference = motions[name][:2]
        count = (len(generated) - 34) // 10 + 1
        for kept, motion in zip(features, (generated, reference), strict=True):
            normal = ((motion - statistics["euler_mean"].double()) / statistics["euler_std"].double()).float()
            kept.append(network.encode(torch.stack([normal[10 * i : 10 * i + 34] for i in range(count)])))
        rows = torch.cat([generated[10 * i : 10 * i + 34] for i in range(count)])
        l1_total += float((rows - rows.mean(0)).abs().sum())
        l1_rows += len(rows)
        offset = 300.0 if name.endswith("_b") else 0.0
        for i in range(len(generated)):
            time = i / 15 + offset
            score = 0.1 if time <= 5 else 0.9 if time <= 9 else 0.7 if 300.5 <= time <= 304 else 0.0
            errors = (generated[i] - reference[i]).reshape(47, 3).abs().sum(1)
            srgr += float((errors < 4).double().mean()) * score / 0.165
        frames += len(generated)
        onsets = beat2022_onsets(load_audio(root / "audio" / f"{name}.wav", 16_000))
        arms = torch.cat([generated[:, 30:39], generated[:, 112:121]], 1)
        aligned.append(float(beat2022_alignment(arms, onsets)))
    assert found["l1div"].value == pytest.approx(l1_total / l1_rows, rel=1e-5)
    assert found["srgr"].value == pytest.approx(srgr / frames, rel=1e-6)
    assert found["align"].value == pytest.approx(np.mean(aligned), abs=1e-6)
    fid = float(frechet_distance(*(torch.cat(x) for x in features)))
    assert found["fid"].value == pytest.approx(fid, rel=1e-4)
    assert found["fid"].low <= found["fid"].high
    assert len(found.extractor_hash) == 64


@torch.inference_mode()
def test_diffsheg_is_the_published_validation(folders, statistics):
    root, motions = folders
    networks = [autoencoder(dim) for dim in (192, 141, 51)]
    found = evaluate_folders(
        root / "generated",
        root / "reference",
        protocol="diffsheg",
        extractor=networks,
        statistics=statistics,
        num_resamples=0,
    )
    mean, std = (
        torch.cat([statistics[f"axis_angle_{kind}"], statistics[f"face_{kind}"]]).double() for kind in ("mean", "std")
    )
    windows = ([], [])
    for name in sorted(NAMES):
        generated, reference, weights, true_weights = motions[name]
        count = int((len(reference) // 15 * 15 - 34) / 10) + 1
        for kept, degrees, face in zip(windows, (generated, reference), (weights, true_weights), strict=True):
            matrix = euler_to_matrix(torch.deg2rad(degrees).reshape(-1, 47, 3), "XYZ")
            joined = torch.cat([matrix_to_axis_angle(matrix).flatten(1), face], 1)
            normal = ((joined - mean) / std).float()
            kept += [normal[10 * i : 10 * i + 34] for i in range(count)]
    ours, theirs = (torch.stack(x) for x in windows)
    parts = {"fmd": slice(None), "fgd": slice(0, 141), "fed": slice(141, None)}
    for network, (name, part) in zip(networks, parts.items(), strict=True):
        distance = float(frechet_distance(*(network.encode(x[..., part]) for x in (ours, theirs))))
        assert found[name].value == pytest.approx(distance, rel=1e-3), name
    assert found["mse"].value == pytest.approx(float((ours - theirs).double().square().mean()), rel=1e-5)
    share = ((ours - theirs).reshape(-1, 3).norm(dim=1) < 0.5).double().mean()
    assert found["pck"].value == pytest.approx(float(share), abs=1e-5)
    group = ours[: len(ours) // min(50, len(ours)) * min(50, len(ours))][:50].flatten(1).double()
    pairs = [float((group[i] - group[j]).abs().mean()) for i in range(len(group)) for j in range(i)]
    assert found["diversity"].value == pytest.approx(np.mean(pairs), rel=1e-5)


def test_representation_and_folder_agree(folders, statistics):
    """What DiffSHEG's features decode to and is written as BVH and JSON is measured as those features."""
    root, _ = folders
    features = DiffSHEGBeat.from_published(statistics)
    motion = features.decode(torch.randn(60, 192, generator=torch.Generator().manual_seed(1)) * 0.3)
    gesture = motion.local_axis_angle[:, list(motion.skeleton.groups["gesture"])].flatten(1)
    folder = root / "written"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        save_beat_bvh(folder / name / "x.bvh", beat_euler_degrees(gesture.double()))
        save_arkit_json(folder / name / "x.json", motion.expressions)
    found = evaluate_folders(folder / "a", folder / "b", protocol="diffsheg", statistics=statistics, num_resamples=0)
    assert found["mse"].value == 0
    assert found["pck"].value == 1


def test_published_writers_slip_is_allowed_for(folders, tmp_path, statistics):
    """Frame 0 is not in their files, so the recorded one is not compared either."""
    root, motions = folders
    for name in NAMES:
        save_beat_bvh(tmp_path / f"{name}.bvh", motions[name][1], strict_upstream=True)
    found = evaluate_folders(tmp_path, root / "reference", protocol="beat2022", semantic=root / "sem", num_resamples=0)
    perfect = evaluate_folders(
        root / "reference", root / "reference", protocol="beat2022", semantic=root / "sem", num_resamples=0
    )
    assert found["srgr"].value == pytest.approx(perfect["srgr"].value, rel=0.01)
    assert sum("lacks frame 0" in note for note in found.notes) == len(NAMES)
    assert found.omitted.keys() == {"fid", "align"}


def test_rates_are_brought_down_by_leaving_out(tmp_path):
    slow = walk(120, 3)
    for folder, rate in (("a", 15.0), ("b", 120.0)):
        (tmp_path / folder).mkdir()
        save_beat_bvh(tmp_path / folder / "x.bvh", slow if rate == 15 else slow.repeat_interleave(8, 0), rate_hz=rate)
    (tmp_path / "sem").mkdir()
    (tmp_path / "sem" / "x.txt").write_text("a\t0\t99\t99\t0.165\tb\n")
    found = evaluate_folders(
        tmp_path / "a", tmp_path / "b", protocol="beat2022", semantic=tmp_path / "sem", num_resamples=0
    )
    assert found["srgr"].value == pytest.approx(1, rel=1e-6)
    save_beat_bvh(tmp_path / "a" / "x.bvh", slow, rate_hz=20.0)
    with pytest.raises(EvaluationError, match="x: wrong rate"):
        evaluate_folders(tmp_path / "a", tmp_path / "b", protocol="beat2022")


def test_problems_are_named(folders, tmp_path, statistics):
    root, motions = folders
    for number, name in enumerate(NAMES):
        motion = motions[name][1]
        if number == 0:
            (tmp_path / f"{name}.bvh").write_text("no such thing")
        elif number == 1:
            save_beat_bvh(tmp_path / f"{name}.bvh", motion[:20])
    with pytest.raises(EvaluationError) as error:
        evaluate_folders(tmp_path, root / "reference", protocol="beat2022", on_error="skip")
    for name, kind in zip(NAMES, ("unreadable", "too short", "missing"), strict=True):
        assert f"{name}: {kind}" in str(error.value)
    save_beat_bvh(tmp_path / f"{NAMES[0]}.bvh", motions[NAMES[0]][1])
    with pytest.raises(EvaluationError, match="without face"):
        evaluate_folders(tmp_path, root / "reference", protocol="diffsheg", statistics=statistics, on_error="skip")
    with pytest.raises(EvaluationError, match="Statistics must hold axis_angle_mean, axis_angle_std"):
        evaluate_folders(tmp_path, root / "reference", protocol="diffsheg", statistics={"euler_mean": torch.zeros(141)})


def test_semantic_scores_of_the_second_half(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a\t30.0\t31.0\t1.0\t0.5\tk\n\na\t30.5\t32.0\t1.5\t0.9\tk\n")
    scores = beat_semantic_scores(path, 45, 15.0, name="1_a_0_9_9_b")  # third from the end is 9: not even
    assert not scores.any()
    scores = beat_semantic_scores(path, 45, 15.0, name="1_a_0_8_9_b")
    assert scores[0] == 0.5
    assert scores[15] == 0.5  # the first of two
    assert scores[16] == pytest.approx(0.9)
    assert scores[31] == 0
    path.write_text("a\tsoon\t31.0\t1.0\t0.5\tk\n")
    with pytest.raises(Exception, match=r"x\.txt: line 1: expected label, start"):
        beat_semantic_scores(path, 45, 15.0, name="x")


def test_command_line(folders, tmp_path, statistics, capsys):
    from safetensors.torch import save_file

    root, _ = folders
    save_file(statistics, tmp_path / "stats.safetensors")
    words = ["evaluate", "--protocol", "diffsheg", "--statistics", tmp_path / "stats.safetensors"]
    words += ["--reference", root / "reference", "--generated", root / "generated", "--json", tmp_path / "out.json"]
    assert main([str(word) for word in words]) == 0
    assert "protocol `diffsheg` v1" in capsys.readouterr().out
    (content,) = json.loads(Path(tmp_path / "out.json").read_text())
    assert {metric["name"] for metric in content["metrics"]} == {"mse", "pck", "diversity"}
    assert content["omitted"]["fed"] == "needs the extractor for faces"
