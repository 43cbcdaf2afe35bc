"""Vertices, against a tiny synthetic body model in the published file format."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cospeech.body import BodyModel
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX, forward_kinematics

NUM_VERTICES = 3 * SMPLX.num_joints  # three vertices about each joint, their mean at the joint


def write_model(path: Path, *, num_shape: int = 300, num_expression: int = 100, pose_directions: bool = True) -> Path:
    """A body whose joints are SMPLX's, each carrying its own three vertices."""
    random = np.random.default_rng(0)
    spread = random.normal(scale=0.02, size=(SMPLX.num_joints, 3, 3))
    spread -= spread.mean(1, keepdims=True)
    regressor = np.kron(np.eye(SMPLX.num_joints), np.full((1, 3), 1 / 3))
    np.savez(
        path,
        v_template=(SMPLX.rest_joints.numpy()[:, None] + spread).reshape(-1, 3),
        shapedirs=random.normal(scale=0.01, size=(NUM_VERTICES, 3, num_shape + num_expression)),
        posedirs=random.normal(scale=0.01, size=(NUM_VERTICES, 3, 54 * 9)) * pose_directions,
        J_regressor=regressor,
        weights=np.kron(np.eye(SMPLX.num_joints), np.ones((3, 1))),
        kintree_table=np.array([[2**32 - 1, *SMPLX.parents[1:]], range(SMPLX.num_joints)], dtype=np.int64),
        f=np.arange(NUM_VERTICES).reshape(-1, 3),
        hands_meanl=np.ones(45),  # to be ignored: hands are flat at zero pose
        hands_meanr=np.ones(45),
        hands_componentsl=np.eye(45),
        hands_componentsr=np.eye(45),
        lmk_faces_idx=np.zeros(51, dtype=np.int64),
        lmk_bary_coords=np.full((51, 3), 1 / 3),
    )
    return path


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "SMPLX_NEUTRAL.npz")


def clip(num_frames: int = 5, **fields: object) -> Motion:
    generator = torch.Generator().manual_seed(1)
    return Motion(
        local_axis_angle=torch.randn(num_frames, 55, 3, generator=generator) * 0.4,
        translation=torch.randn(num_frames, 3, generator=generator),
        rate_hz=30,
        **fields,
    )


def test_vertices_follow_our_joints(tmp_path: Path) -> None:
    # Without pose directions, the mean of a joint's three vertices is that joint.
    body = BodyModel(write_model(tmp_path / "body.npz", pose_directions=False))
    motion = clip(betas=torch.linspace(-1, 1, 10))
    joints = forward_kinematics(motion.local_rotations(), body.skeleton(motion.betas), motion.translation)
    torch.testing.assert_close(body(motion).unflatten(1, (55, 3)).mean(2), joints, atol=2e-6, rtol=0)


class JointsAlone(torch.nn.Module):
    """In place of the published selector of extra joints, whose vertex numbers need the real mesh."""

    def forward(self, vertices: torch.Tensor, joints: torch.Tensor) -> torch.Tensor:
        return joints


@pytest.mark.parametrize("expressive", [True, False])
def test_agrees_with_the_published_forward(model_path: Path, expressive: bool) -> None:
    from smplx import SMPLX as PublishedModel

    published = PublishedModel(
        str(model_path), use_pca=False, flat_hand_mean=True, num_betas=300, num_expression_coeffs=100
    )
    published.vertex_joint_selector = JointsAlone()
    expressions = torch.linspace(-1, 1, 500).view(5, 100) * expressive
    motion = clip(betas=torch.linspace(-1, 1, 300), expressions=expressions)
    pose = motion.local_axis_angle.flatten(1)
    expected = published(
        betas=motion.betas.expand(5, -1),
        expression=expressions,
        global_orient=pose[:, :3],
        body_pose=pose[:, 3:66],
        jaw_pose=pose[:, 66:69],
        leye_pose=pose[:, 69:72],
        reye_pose=pose[:, 72:75],
        left_hand_pose=pose[:, 75:120],
        right_hand_pose=pose[:, 120:],
        transl=motion.translation,
    )
    body = BodyModel(model_path)
    torch.testing.assert_close(body(motion), expected.vertices.detach(), atol=2e-6, rtol=0)
    if not expressive:  # this synthetic face moves every joint
        joints = forward_kinematics(motion.local_rotations(), body.skeleton(motion.betas), motion.translation)
        torch.testing.assert_close(joints, expected.joints[:, :55].detach(), atol=2e-6, rtol=0)


def test_blocks_do_not_show(model_path: Path) -> None:
    body, motion = BodyModel(model_path), clip(7)
    torch.testing.assert_close(body(motion, block_frames=3), body(motion), atol=1e-6, rtol=0)


def test_gradients_reach_the_pose(model_path: Path) -> None:
    axis_angle = torch.zeros(2, 55, 3, requires_grad=True)
    motion = Motion(local_axis_angle=axis_angle, translation=torch.zeros(2, 3), rate_hz=30)
    BodyModel(model_path)(motion).square().sum().backward()
    assert axis_angle.grad is not None
    assert axis_angle.grad.isfinite().all()
    assert axis_angle.grad.abs().sum() > 0


def test_folder_gender_and_module(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = BodyModel(model_path.parent)
    assert body.faces.shape == (55, 3)
    assert body.double()(clip(2)).dtype == torch.float64
    assert not list(body.parameters())
    with pytest.raises(FileNotFoundError, match=r"SMPLX_FEMALE.*not part of cospeech"):
        BodyModel(model_path.parent, gender="female")
    assert capsys.readouterr().out == ""


def test_few_components(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = BodyModel(write_model(tmp_path / "small.npz", num_shape=10, num_expression=10))
    padded = torch.zeros(300)
    padded[:10] = 1.0
    torch.testing.assert_close(body(clip(betas=padded)), body(clip(betas=padded[:10])))
    with pytest.raises(ValueError, match=r"10 components for `betas`.*uses 300"):
        body(clip(betas=torch.ones(300)))
    assert capsys.readouterr().out == ""


def test_errors(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"smpl-x\.is\.tue\.mpg\.de"):
        BodyModel(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="neutral, female, male"):
        BodyModel(model_path, gender="other")
    (tmp_path / "body.obj").touch()
    with pytest.raises(ValueError, match=r"npz or \.pkl"):
        BodyModel(tmp_path / "body.obj")
    twenty_two = SMPLX.subset(SMPLX.names[:22])
    motion = Motion(
        local_axis_angle=torch.zeros(1, 22, 3), translation=torch.zeros(1, 3), rate_hz=30, skeleton=twenty_two
    )
    with pytest.raises(ValueError, match="55 joints"):
        BodyModel(model_path)(motion)


def test_smplx_is_not_imported_by_the_page() -> None:
    import subprocess

    code = "import sys, cospeech.body; assert not any(m.split('.')[0] == 'smplx' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
