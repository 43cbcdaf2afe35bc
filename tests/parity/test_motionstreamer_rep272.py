"""The 272 channels against the published program: made from a clip, and back to joints and rotations."""

import pytest
import torch

from cospeech.representations import (
    FeatureStats,
    face_forward,
    streamer_features,
    streamer_joints,
    streamer_smpl85,
)
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPL22, forward_kinematics


def close(ours, expected, atol):
    torch.testing.assert_close(ours, expected, rtol=0, atol=atol, check_dtype=False)


@pytest.mark.case("motionstreamer_rep272_encode")
def test_encode(case):
    given, expected = case.inputs, case.outputs
    smpl85 = given["smpl85"]
    axis_angle, translation = face_forward(smpl85[:, :66].unflatten(-1, (22, 3)), smpl85[:, 72:75])
    facing = torch.cat([axis_angle.flatten(-2), smpl85[:, 66:72], translation, smpl85[:, 75:]], dim=-1)
    close(facing, expected["smpl85_facing_z"], 1e-5)
    rotations = axis_angle_to_matrix(axis_angle)
    close(streamer_features(rotations, given["joints"]), expected["rep272"], 1e-5)
    assert tuple(given["parents"].tolist()) == SMPL22.parents
    joints = forward_kinematics(rotations, SMPL22, translation, given["rest_joints"].float())
    close(joints, given["joints"], 1e-5)
    close(streamer_features(rotations, joints), expected["rep272"], 1e-5)


@pytest.mark.case("motionstreamer_rep272_recover")
def test_recover(case):
    given, expected = case.inputs, case.outputs
    features = given["rep272"]
    close(streamer_joints(features), expected["positions"], 1e-8)
    close(streamer_smpl85(features), expected["smpl85"], 1e-8)
    close(streamer_joints(features.float()), expected["positions_float32"], 1e-5)
    noisy = FeatureStats(given["mean"], given["std"]).denormalize(given["normalised"])
    close(streamer_joints(noisy), expected["positions_noisy"], 1e-8)
    close(streamer_smpl85(noisy), expected["smpl85_noisy"], 1e-8)
    close(streamer_joints(noisy.expand(2, -1, -1)), expected["positions_noisy"].expand(2, -1, -1, -1), 1e-8)
