"""SMPL-X's table, against the data it was taken from and what must hold of any body."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cospeech.skeleton import SMPL22, SMPLX

GOLDEN = Path(os.environ.get("COSPEECH_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
SOURCE = GOLDEN / "smplx_rest_joints.safetensors"


@pytest.mark.skipif(not SOURCE.is_file(), reason=f"no {SOURCE}")
def test_the_table_is_the_source() -> None:
    with safe_open(SOURCE, framework="pt") as file:
        assert tuple(json.loads(file.metadata()["joint_names"])) == SMPLX.names
        assert tuple(file.get_tensor("parents").tolist()) == SMPLX.parents
        assert tuple(map(tuple, file.get_tensor("mirror_pairs").tolist())) == SMPLX.mirror_pairs
        mean = file.get_tensor("rest_joints").double().mean(0)
        torch.testing.assert_close(SMPLX.rest_joints.double(), mean, atol=5.1e-5, rtol=0)
        keys = {
            "upper": "upper",
            "lower": "lower",
            "hands": "hand",
            "left_hand": "lhand",
            "right_hand": "rhand",
            "face": "face",
        }
        for group, key in keys.items():
            assert SMPLX.groups[group] == tuple(file.get_tensor(f"joints_{key}").tolist())


def test_parts_cover_the_body() -> None:
    parts = [joint for name in ("upper", "lower", "hands", "face") for joint in SMPLX.groups[name]]
    assert sorted(parts) == list(range(55))
    assert [len(level) for level in SMPLX.levels] == [1, 3, 3, 3, 5, 3, 5, 2, 10, 10, 10]
    feet = [SMPLX.names[joint] for joint in SMPLX.groups["feet"]]
    assert feet == ["left_ankle", "right_ankle", "left_foot", "right_foot"]


def test_stands_upright_and_faces_z() -> None:
    at = {name: SMPLX.rest_joints[SMPLX.index(name)] for name in SMPLX.names}
    assert at["head"][1] > at["pelvis"][1] > at["left_foot"][1]
    assert at["left_wrist"][0] > 0 > at["right_wrist"][0]
    assert at["left_foot"][2] > at["left_ankle"][2]


def test_mirror_pairs_go_by_name() -> None:
    for left, right in SMPLX.mirror_pairs:
        assert SMPLX.names[left].replace("left", "right") == SMPLX.names[right]


def test_smpl22_is_the_body() -> None:
    assert SMPL22.names == SMPLX.names[:22]
    assert SMPL22.parents == SMPLX.parents[:22]
    assert set(SMPL22.groups) == {"upper", "lower", "feet"}
    assert torch.equal(SMPL22.rest_joints, SMPLX.rest_joints[:22])
