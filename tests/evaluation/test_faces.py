"""Errors of faces on a small body model in the published file format, against whole meshes at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.errors import EvaluationError
from cospeech.evaluation import evaluate_folders, get_protocol
from cospeech.evaluation.faces import SurfaceModel, face_measures
from cospeech.metrics import position_lvd, velocity_lvd, vertex_mse
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX

pytest.importorskip("smplx")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> Path:
    """Three vertices about each joint; shapes move joints, expressions move vertices."""
    random = np.random.default_rng(0)
    count = 3 * SMPLX.num_joints
    path = tmp_path_factory.mktemp("models") / "SMPLX_NEUTRAL.npz"
    np.savez(
        path,
        v_template=np.repeat(SMPLX.rest_joints.numpy(), 3, 0) + random.normal(scale=0.02, size=(count, 3)),
        shapedirs=random.normal(scale=0.01, size=(count, 3, 400)),
        posedirs=random.normal(scale=0.001, size=(count, 3, 54 * 9)),
        J_regressor=np.kron(np.eye(SMPLX.num_joints), np.full((1, 3), 1 / 3)),
        weights=np.kron(np.eye(SMPLX.num_joints), np.ones((3, 1))),
        kintree_table=np.array([[2**32 - 1, *SMPLX.parents[1:]], range(SMPLX.num_joints)], dtype=np.int64),
        f=np.arange(count).reshape(-1, 3),
        hands_meanl=np.full(45, 0.1),
        hands_meanr=np.full(45, 0.2),
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        lmk_faces_idx=np.zeros(51, dtype=np.int64),
        lmk_bary_coords=np.full((51, 3), 1 / 3),
    )
    return path


def clip(num_frames: int, seed: int, betas: float) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    return Motion(
        local_axis_angle=0.2 * torch.randn(num_frames, 55, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator),
        expressions=torch.randn(num_frames, 100, generator=generator),
        betas=torch.full((300,), betas),
        rate_hz=30,
    )


def vertices(surface: SurfaceModel, motion: Motion, betas: torch.Tensor) -> torch.Tensor:
    """Everything but jaw and expressions at rest, with the shape of the reference."""
    pose = torch.zeros_like(motion.local_axis_angle)
    pose[:, 22] = motion.local_axis_angle[:, 22]
    still = replace(motion, local_axis_angle=pose, translation=torch.zeros_like(motion.translation), betas=betas)
    return surface.body(still)


@pytest.mark.parametrize("num_frames", [1, 2, 64, 65, 150])  # blocks of 64 must not show
def test_blocks_are_the_whole(model_path, num_frames):
    surface = SurfaceModel(model_path)
    generated, reference = clip(num_frames, 0, 0.5), clip(num_frames, 1, -0.3)
    ours, theirs = (vertices(surface, motion, reference.betas) for motion in (generated, reference))
    formulas = {
        "cospeech": velocity_lvd,
        "legacy": position_lvd,
        "evaltools": lambda *pair: velocity_lvd(*pair, divide_by_frames=True),
    }
    for name, lvd in formulas.items():
        found = face_measures(surface, generated, reference, get_protocol(name))
        assert found["face_mse"] == pytest.approx((float(vertex_mse(ours, theirs)), num_frames), rel=1e-5)
        if num_frames == 1:
            assert "face_lvd" not in found
        else:
            assert found["face_lvd"] == pytest.approx((float(lvd(ours, theirs)), num_frames), rel=1e-5)


def test_folders_with_a_body(model_path, tmp_path):
    """Shape and hands come from the clips and the file, so nothing is left to be noted."""
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        clip(200, seed, 0.5).save(tmp_path / folder / "x.npz")
    found = evaluate_folders(tmp_path / "a", tmp_path / "b", protocol="legacy", body=model_path, num_resamples=0)
    plain = evaluate_folders(tmp_path / "a", tmp_path / "b", protocol="legacy", num_resamples=0)
    assert found["face_mse"].value > 0
    assert found["face_lvd"].value > 0
    assert plain.omitted["face_mse"] == "needs the licensed body model file"
    assert not found.notes
    assert len(plain.notes) == 2
    surface = SurfaceModel(model_path)
    given = evaluate_folders(
        tmp_path / "a",
        tmp_path / "b",
        protocol="legacy",
        rest_joints=surface.rest_joints(torch.full((300,), 0.5)),
        hand_mean=surface.hand_mean,
        num_resamples=0,
    )
    assert given["l1div"].value == found["l1div"].value != plain["l1div"].value
    assert surface.hand_mean.shape == (30, 3)
    assert surface.hand_mean[0, 0] == pytest.approx(0.1)


def test_no_body_model_is_one_line(tmp_path):
    with pytest.raises(EvaluationError, match="The body model cannot be used: No SMPL-X model at"):
        SurfaceModel(tmp_path)
