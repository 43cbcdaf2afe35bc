from __future__ import annotations

import pytest
import torch

from cospeech.motion import Motion
from cospeech.representations import DiffSHEGBeat, DiffSHEGShow, beat_euler_degrees
from cospeech.rotations import axis_angle_to_matrix, euler_to_matrix
from cospeech.skeleton import BEAT, SMPLX

KINDS = [(DiffSHEGBeat, 192), (DiffSHEGShow, 232)]


def make(kind, width):
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(width, generator=generator), 0.1 + torch.rand(width, generator=generator)
    return kind(mean=0.1 * mean, std=std)


@pytest.mark.parametrize(("kind", "width"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decode_then_encode(kind, width, dtype):
    representation, features = make(kind, width), torch.randn(5, width, dtype=dtype)
    motion = representation.decode(features)
    assert motion.local_axis_angle.dtype == dtype
    torch.testing.assert_close(representation.encode(motion), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "width"), KINDS)
def test_encode_then_decode_keeps_what_is_generated(kind, width):
    representation = make(kind, width)
    skeleton, num_expressions = (BEAT, 51) if kind is DiffSHEGBeat else (SMPLX, 100)
    motion = Motion(
        local_axis_angle=torch.randn(3, skeleton.num_joints, 3),
        translation=torch.randn(3, 3),
        expressions=torch.rand(3, num_expressions),
        rate_hz=representation.rate_hz,
        skeleton=skeleton,
    )
    back = representation.decode(representation.encode(motion))
    kept = list(BEAT.groups["gesture"]) if kind is DiffSHEGBeat else [3, 6, 9, *range(12, 23), *range(25, 55)]
    torch.testing.assert_close(back.local_axis_angle[:, kept], motion.local_axis_angle[:, kept], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(back.expressions, motion.expressions, rtol=1e-4, atol=1e-5)


def test_beat_at_rest_stands_in_the_base_pose():
    motion = DiffSHEGBeat(mean=torch.zeros(192), std=torch.ones(192)).decode(torch.zeros(2, 192))
    joints = motion.joints()[0]
    feet, hips, head = (joints[BEAT.index(name)] for name in ("LeftFoot", "Hips", "Head"))
    assert feet[1] < hips[1] < head[1]
    assert 1.3 < head[1] - feet[1] < 1.9  # metres


def test_euler_degrees_are_the_same_rotations():
    gesture = 0.7 * torch.randn(4, 141, dtype=torch.float64)
    matrices = euler_to_matrix(torch.deg2rad(beat_euler_degrees(gesture)).reshape(4, 47, 3), "XYZ")
    torch.testing.assert_close(matrices, axis_angle_to_matrix(gesture.reshape(4, 47, 3)))


def test_what_is_refused():
    representation = make(*KINDS[1])
    motion = representation.decode(torch.zeros(4, 232))
    with pytest.raises(ValueError, match="must run at 30 Hz; got 15"):
        representation.encode(motion.resample(15))
    with pytest.raises(ValueError, match=r"must have the 75 joints of Skeleton\(75 joints"):
        DiffSHEGBeat(mean=torch.zeros(192), std=torch.ones(192), rate_hz=30.0).encode(motion)
    with pytest.raises(ValueError, match="`std` must not be 0"):
        DiffSHEGShow(mean=torch.zeros(232), std=torch.zeros(232))
    with pytest.raises(ValueError, match=r"`mean` must have shape \(192\); got \(232,\)"):
        DiffSHEGBeat(mean=torch.zeros(232), std=torch.ones(192))
    with pytest.raises(ValueError, match="`statistics` must hold motion_mean, motion_std; motion_std is missing"):
        DiffSHEGShow.from_published({"motion_mean": torch.zeros(232)})
