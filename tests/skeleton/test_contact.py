"""Contact on constructed motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cospeech.skeleton import SMPL22, SMPLX, foot_contact

LEFT_ANKLE, RIGHT_ANKLE, LEFT_FOOT, RIGHT_FOOT = SMPLX.groups["feet"]


def standing(num_frames: int) -> Tensor:
    return SMPLX.rest_joints.repeat(num_frames, 1, 1)


@pytest.mark.parametrize("num_frames", [1, 2, 10])
def test_standing_is_contact(num_frames: int) -> None:
    contact = foot_contact(standing(num_frames), rate_hz=30)
    assert contact.shape == (num_frames, 4)
    assert contact.dtype == torch.bool
    assert contact.all()


def test_a_lifted_foot_is_not() -> None:
    joints = standing(10)
    joints[3:7, [LEFT_ANKLE, LEFT_FOOT], 1] += 0.2
    contact = foot_contact(joints, rate_hz=30)
    assert contact[:, [1, 3]].all()
    # Rising from frame 2 and falling to frame 7: the step to the next frame is fast in 2 and in 6.
    expected = torch.tensor([1, 1, 0, 0, 0, 0, 0, 1, 1, 1], dtype=torch.bool)
    assert torch.equal(contact[:, 0], expected)
    assert torch.equal(contact[:, 2], expected)


def test_speed_is_in_metres_per_second() -> None:
    joints = standing(31)
    joints[:, :, 0] += torch.linspace(0, 1, 31)[:, None]  # 30 steps of 1/30 m
    for rate_hz, speed in ((30, 1.0), (60, 2.0)):
        below = foot_contact(joints, rate_hz=rate_hz, max_speed_metres_per_second=speed * 0.99)
        above = foot_contact(joints, rate_hz=rate_hz, max_speed_metres_per_second=speed * 1.01)
        assert not below.any()
        assert above.all()
    assert foot_contact(joints, rate_hz=30, max_speed_metres_per_second=math.inf).all()


def test_height_is_in_metres_above_the_ground() -> None:
    joints = standing(3) + torch.tensor([0.0, 0.1, 0.0])
    ground = float(SMPLX.rest_joints[list(SMPLX.groups["feet"]), 1].min())
    assert foot_contact(joints, rate_hz=30).all()  # the clip's own ground
    assert not foot_contact(joints, rate_hz=30, ground_height_metres=ground).any()
    assert foot_contact(joints, rate_hz=30, ground_height_metres=ground, max_height_metres=0.11).all()
    assert foot_contact(joints, rate_hz=30, ground_height_metres=ground, max_height_metres=math.inf).all()


def test_each_clip_has_its_own_ground() -> None:
    clips = torch.stack([standing(4), standing(4) + 5.0])[:, None]
    contact = foot_contact(clips, rate_hz=30)
    assert contact.shape == (2, 1, 4, 4)
    assert contact.all()


def test_no_frames_and_nan() -> None:
    assert foot_contact(standing(0), rate_hz=30).shape == (0, 4)
    joints = standing(3)
    joints[1, LEFT_FOOT] = math.nan
    assert not foot_contact(joints, rate_hz=30, ground_height_metres=-1.3)[1, 2]


def test_smpl22_has_the_same_feet() -> None:
    joints = standing(5) + 0.01 * torch.randn(5, 55, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(foot_contact(joints, rate_hz=10), foot_contact(joints[:, :22], rate_hz=10, skeleton=SMPL22))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"`joints` must have shape \(..., T, 55, 3\)"):
        foot_contact(torch.zeros(5, 22, 3), rate_hz=30)
    with pytest.raises(ValueError, match="group 'feet'"):
        foot_contact(torch.zeros(5, 1, 3), rate_hz=30, skeleton=SMPLX.subset(["pelvis"]))
    for rate_hz in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="`rate_hz` must be a positive number"):
            foot_contact(standing(2), rate_hz=rate_hz)
    with pytest.raises(ValueError, match="must not be negative; got -1 m"):
        foot_contact(standing(2), rate_hz=30, max_height_metres=-1)
