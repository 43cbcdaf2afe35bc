from __future__ import annotations

import json
import warnings

import pytest
import torch

from cospeech.io import load_bvh, save_arkit_json, save_beat_bvh
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
