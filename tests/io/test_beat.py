from __future__ import annotations

import json
import warnings

import pytest
import torch

from cospeech.errors import MotionFileError
from cospeech.io import load_arkit_json, load_beat_bvh, load_bvh, save_arkit_json, save_beat_bvh
from cospeech.rotations import axis_angle_to_matrix, euler_to_matrix
from cospeech.skeleton import BEAT, BEAT_ARKIT_NAMES

torch.manual_seed(0)


def test_our_reader_finds_the_skeleton_and_the_angles(tmp_path):
    degrees = 60 * torch.randn(5, 141, dtype=torch.float64).clamp(-2, 2)
    save_beat_bvh(tmp_path / "a.bvh", degrees)
    arrays = load_bvh(tmp_path / "a.bvh")
    assert arrays.skeleton.names == BEAT.names
    assert arrays.rate_hz == pytest.approx(15)
    torch.testing.assert_close(arrays.skeleton.rest_joints, BEAT.rest_joints, rtol=0, atol=1e-6)
    expected = euler_to_matrix(torch.deg2rad(degrees).reshape(5, 47, 3), "XYZ")
    found = axis_angle_to_matrix(arrays.local_axis_angle[:, list(BEAT.groups["gesture"])].double())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_another_program_reads_it(tmp_path):
    save_beat_bvh(tmp_path / "a.bvh", torch.zeros(3, 141))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own imports
        bvhio = pytest.importorskip("bvhio")
    file = bvhio.readAsBvh(str(tmp_path / "a.bvh"))
    assert (file.FrameCount, file.Root.Name) == (3, "Hips")
    assert file.FrameTime == pytest.approx(1 / 15)


def test_the_published_slips_on_request(tmp_path):
    save_beat_bvh(tmp_path / "a.bvh", torch.zeros(4, 141), strict_upstream=True)
    lines = (tmp_path / "a.bvh").read_text().splitlines()
    assert lines[429:431] == ["Frames: 4", "Frame Time: 0.008333"]
    assert len(lines) == 431 + 3
    assert not lines[-1].split()[-1].endswith("e-00")


def test_weights(tmp_path):
    weights = torch.rand(3, 51)
    save_arkit_json(tmp_path / "a.json", weights, rate_hz=30)
    content = json.loads((tmp_path / "a.json").read_text())
    assert tuple(content["names"]) == BEAT_ARKIT_NAMES
    assert content["frames"][2]["time"] == pytest.approx(2 / 30)
    torch.testing.assert_close(torch.tensor(content["frames"][1]["weights"]), weights[1])


@pytest.mark.parametrize("write", [save_beat_bvh, save_arkit_json])
def test_nothing_is_written_of_what_is_not_finite(tmp_path, write):
    width = 141 if write is save_beat_bvh else 51
    with pytest.raises(ValueError, match="must be finite"):
        write(tmp_path / "a", torch.full((2, width), torch.nan))
    with pytest.raises(ValueError, match="must have shape"):
        write(tmp_path / "a", torch.zeros(2, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate_hz", [15.0, 120.0])
def test_angles_come_back(tmp_path, rate_hz):
    degrees = 60 * torch.randn(5, 141, dtype=torch.float64)
    save_beat_bvh(tmp_path / "a.bvh", degrees, rate_hz=rate_hz)
    found = load_beat_bvh(tmp_path / "a.bvh")
    assert (found.rate_hz, found.first_frame) == (rate_hz, 0)
    torch.testing.assert_close(found.euler_degrees, degrees, rtol=1e-6, atol=1e-6)


def test_published_files_are_known_by_their_slips(tmp_path):
    degrees = 60 * torch.randn(5, 141, dtype=torch.float64)
    save_beat_bvh(tmp_path / "a.bvh", degrees, strict_upstream=True)
    found = load_beat_bvh(tmp_path / "a.bvh")
    assert (found.rate_hz, found.first_frame) == (15.0, 1)
    torch.testing.assert_close(found.euler_degrees, degrees[1:], rtol=1e-6, atol=1e-5)


def test_a_cache_of_rows_is_read(tmp_path):
    degrees = torch.randn(4, 141, dtype=torch.float64)
    (tmp_path / "a.bvh").write_text("\n".join(" ".join(f"{x:.9f}" for x in row) for row in degrees.tolist()))
    found = load_beat_bvh(tmp_path / "a.bvh")
    assert (found.rate_hz, found.first_frame) == (15.0, 0)
    torch.testing.assert_close(found.euler_degrees, degrees, rtol=0, atol=1e-8)


def test_weights_come_back(tmp_path):
    weights = torch.rand(7, 51, dtype=torch.float64)
    save_arkit_json(tmp_path / "a.json", weights, rate_hz=15)
    found, rate_hz = load_arkit_json(tmp_path / "a.json")
    assert torch.equal(found, weights)
    assert rate_hz == 15
    content = json.loads((tmp_path / "a.json").read_text())  # another order, and one that BEAT does not use
    content["names"] = ["tongueOut", *content["names"][::-1]]
    for frame in content["frames"]:
        frame["weights"] = [9.0, *frame["weights"][::-1]]
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert torch.equal(load_arkit_json(tmp_path / "b.json")[0], weights)


def test_what_is_no_recording_is_one_clear_line(tmp_path):
    save_beat_bvh(tmp_path / "a.bvh", torch.zeros(4, 141))
    text = (tmp_path / "a.bvh").read_text()
    wrong = {
        "expected 141 plain numbers": "once upon a time\n",
        "line 1: expected 141 numbers; got 2": "1 2\n",
        "NaN or infinity": " ".join(["nan"] * 141),
        "expected the joints of BEAT; RightHandThumb1": text.replace("RightHandThumb1", "Thumb"),
        "expected rotations X, Y, Z of Spine; got YXZ": text.replace(
            "3 Xrotation Yrotation", "3 Yrotation Xrotation", 1
        ),
        "expected 9 frames, as declared; got 4": text.replace("Frames: 4", "Frames: 9"),
    }
    for message, content in wrong.items():
        (tmp_path / "b.bvh").write_text(content)
        with pytest.raises(MotionFileError, match=message):
            load_beat_bvh(tmp_path / "b.bvh")
    save_arkit_json(tmp_path / "a.json", torch.zeros(3, 51))
    text = (tmp_path / "a.json").read_text()
    for content in ("[]", "{", "{}", text.replace("jawOpen", "maw"), text.replace("0.0", "NaN"), "[" * 100_000):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(MotionFileError, match=r"b\.json: expected"):
            load_arkit_json(tmp_path / "b.json")
