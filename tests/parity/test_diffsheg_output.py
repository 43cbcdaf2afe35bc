"""From normalised features to BEAT's files and to SMPL-X, against the published program."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cospeech.io import save_arkit_json, save_beat_bvh
from cospeech.representations import DiffSHEGBeat, DiffSHEGShow, beat_euler_degrees
from cospeech.skeleton import BEAT

FOLDER = Path(os.environ.get("COSPEECH_GOLDEN", Path(__file__).resolve().parents[2].parent / "shared" / "golden"))


def beat():
    """The representation and its statistics, float64."""
    statistics = load_file(FOLDER / "diffsheg_beat_stats.safetensors")
    return DiffSHEGBeat.from_published(statistics), statistics


def degrees_of(features):
    """The published chain, float64."""
    representation, _ = beat()
    return beat_euler_degrees(representation.denormalize(features.double())[..., :141])


def assert_angles(actual, expected, tolerance):
    """Up to whole turns."""
    error = actual - expected
    assert (error - 360 * (error / 360).round()).abs().max() < tolerance


@pytest.mark.case("diffsheg_beat_output")
def test_beat_output(case, tmp_path):
    given, expected, (representation, statistics) = case.inputs, case.outputs, beat()
    num_frames = len(given["norm_axis_angle"])
    face = torch.zeros(num_frames, 51)
    face[: given["norm_face"].shape[1]] = given["norm_face"][0]
    features = torch.cat([given["norm_axis_angle"], face], dim=1)
    degrees = degrees_of(features)
    torch.testing.assert_close(degrees, expected["euler_deg"][0], rtol=1e-9, atol=1e-9)
    normalized = (degrees - statistics["euler_mean"]) / statistics["euler_std"]
    # Deviations down to 1e-6 degrees magnify the last bits.
    torch.testing.assert_close(normalized, expected["norm_euler"][0], rtol=1e-9, atol=1e-6)

    path = tmp_path / "clip.bvh"
    save_beat_bvh(path, degrees, strict_upstream=True)
    lines = path.read_text().split("\n")
    assert len(lines) == int(case.settings["bvh_n_lines"]) + 1 or len(lines) == int(case.settings["bvh_n_lines"])
    for number in (429, 430, 431):
        assert lines[number - 1] == case.settings[f"bvh_line_{number}"]
    for number in (432, 433):
        ours, theirs = lines[number - 1], case.settings[f"bvh_line_{number}"]
        assert len(ours) == len(theirs)
        for one, other in zip(ours.split(), theirs.split(), strict=True):
            assert float(one) == pytest.approx(float(other), rel=2e-6, abs=1e-11)

    path = tmp_path / "clip.json"
    save_arkit_json(path, representation.denormalize(features.double())[: len(expected["json_weights"]), 141:])
    content = json.loads(path.read_text())
    assert list(content) == json.loads(case.settings["json_keys"])
    assert list(content["frames"][0]) == json.loads(case.settings["json_frame_keys"])
    assert content["frames"][1]["time"] == pytest.approx(float(case.settings["json_frame1_time"]))
    weights = torch.tensor([frame["weights"] for frame in content["frames"]], dtype=torch.float64)
    torch.testing.assert_close(weights, expected["json_weights"], rtol=1e-9, atol=1e-12)


@pytest.mark.case("diffsheg_beat_foppas")
def test_beat_script_output(case, tmp_path):
    """From the published features on: what the script writes at the end."""
    expected, (representation, statistics) = case.outputs, beat()
    features = torch.cat([expected["norm_axis_angle"], expected["norm_face"]], dim=-1)[0]
    degrees = degrees_of(features)
    published = expected["norm_euler_sample"][0]
    every = -(-len(degrees) // len(published))
    turned = degrees[::every] - (published * statistics["euler_std"] + statistics["euler_mean"])
    assert_angles(turned, torch.zeros_like(turned), 1e-3)
    weights = representation.denormalize(features.double())[:, 141:]
    sample = expected["json_weights_sample"]
    torch.testing.assert_close(weights[:: -(-len(weights) // len(sample))], sample, rtol=1e-9, atol=1e-9)

    save_beat_bvh(tmp_path / "clip.bvh", degrees, strict_upstream=True)
    rows = [line.split() for line in (tmp_path / "clip.bvh").read_text().split("\n")[431:] if line]
    written = torch.tensor([[float(word) for word in row] for row in rows], dtype=torch.float64)
    assert len(written) == len(degrees) - 1
    assert_angles(written[::8, 3:-1], expected["bvh_rows"][:, 3:-1], 1e-3)


@pytest.mark.case("diffsheg_show_foppas")
def test_show_script_output(case):
    statistics = load_file(FOLDER / "diffsheg_show_stats.safetensors")
    representation = DiffSHEGShow.from_published(statistics)
    normalized, expected = case.outputs["norm_motion"].flatten(0, -2), case.outputs["motion"][0, ::3]
    torch.testing.assert_close(representation.denormalize(normalized), expected, rtol=1e-5, atol=1e-6)
    motion = representation.decode(normalized)
    torch.testing.assert_close(motion.local_axis_angle[:, 3], expected[:, :3], rtol=1e-5, atol=1e-6)  # spine1
    torch.testing.assert_close(motion.local_axis_angle[:, 22], expected[:, 129:132], rtol=1e-5, atol=1e-6)  # jaw
    assert not motion.local_axis_angle[:, [0, 1, 2, 4, 5, 7, 8, 10, 11, 23, 24]].any()


def test_skeleton_is_the_published_one():
    path = FOLDER / "diffsheg_beat_skeleton.bvh"
    if not path.is_file():
        pytest.skip(f"no {path}; set COSPEECH_GOLDEN to its folder")
    text = path.read_text().split()
    offsets = [[float(x) for x in text[i + 1 : i + 4]] for i, word in enumerate(text) if word == "OFFSET"]
    names = [text[i + 1] for i, word in enumerate(text) if word in ("ROOT", "JOINT")]
    ends = {i for i, word in enumerate(text) if word == "End"}
    assert tuple(names) == BEAT.names
    kept = [offset for offset, is_end in zip(offsets, _are_ends(text, ends), strict=True) if not is_end]
    bones = [BEAT.rest_joints[j] - (BEAT.rest_joints[p] if p >= 0 else 0) for j, p in enumerate(BEAT.parents)]
    torch.testing.assert_close(100 * torch.stack(bones), torch.tensor(kept), rtol=0, atol=2e-5)


def _are_ends(text, ends):
    """For each OFFSET whether it is that of an end site."""
    return [any(i - 3 <= end < i for end in ends) for i, word in enumerate(text) if word == "OFFSET"]
