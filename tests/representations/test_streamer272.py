"""The 272 channels: both ways back, streams, what they leave out, millimetres on procedural and real motion, files."""

import os
from pathlib import Path

import pytest
import torch

from cospeech.motion import Motion
from cospeech.representations import (
    STREAMER_LAYOUT,
    FeatureStats,
    Streamer272,
    face_forward,
    recover_root,
    streamer_features,
    streamer_joints,
    streamer_smpl85,
)
from cospeech.rotations import axis_angle_to_matrix, rot6d_to_matrix
from cospeech.skeleton import SMPL22

DATA = Path(os.environ.get("COSPEECH_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def walk(num_frames=40, dtype=torch.float64, seed=0):
    """A figure that walks a curve, turning by more than a full circle."""
    generator = torch.Generator().manual_seed(seed)
    turns = 0.2 * torch.randn(55, 3, generator=generator, dtype=dtype).expand(num_frames, 55, 3).clone()
    time = torch.arange(num_frames, dtype=dtype)
    turns = turns * torch.sin(0.3 * time)[:, None, None]
    turns[:, 0] = torch.stack([0 * time, 0.5 + 0.2 * time, 0 * time], -1)
    path = torch.stack([torch.sin(0.1 * time), 0.02 * torch.cos(time), 0.05 * time], -1)
    return Motion(local_axis_angle=turns, translation=path, rate_hz=30)


def invariant(joints):
    """Distances between all joints of all frames, which neither place nor facing changes."""
    flat = joints.reshape(-1, 3)
    return torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize("decode", ["rotations", "positions"])
def test_round_trip_keeps_the_motion_but_place_and_facing(decode):
    motion, representation = walk(), Streamer272()
    features = representation.encode(motion)
    again = representation.decode(features).joints()[:, :22] if decode == "rotations" else streamer_joints(features)
    torch.testing.assert_close(invariant(again), invariant(motion.joints()[:, :22]), rtol=0, atol=1e-6)
    torch.testing.assert_close(again[..., 1].min(), torch.tensor(0.0).double(), rtol=0, atol=1e-6)


def test_float32_round_trip_stays_below_half_a_millimetre_over_ten_seconds():
    motion, representation = walk(300, torch.float32), Streamer272()
    again = streamer_joints(representation.encode(motion))
    assert (invariant(again[::30]) - invariant(motion.joints()[::30, :22])).abs().max() < 5e-4


def millimetres_apart(joints, others):
    """Largest distance once place and facing are the same: the best turn about the vertical is taken off."""
    first, second = ((x.double() - x.double().mean((0, 1))).reshape(-1, 3) for x in (joints, others))
    both = second[:, [0, 2]].T @ first[:, [0, 2]]
    angle = torch.atan2(both[0, 1] - both[1, 0], both.trace())
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).reshape(2, 2)
    second[:, [0, 2]] = second[:, [0, 2]] @ turn
    return 1e3 * float((first - second).norm(dim=-1).max())


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 0.1), (torch.float64, 1e-8)])
def test_a_minute_of_real_motion_comes_back_to_a_tenth_of_a_millimetre(dtype, limit):
    path = DATA / "2_scott_0_1_1.npz"
    if not path.exists():
        pytest.skip(f"no recording {path}; set COSPEECH_DATA to its folder")
    motion, representation = Motion.load(path).to(dtype=dtype), Streamer272()
    features = representation.encode(motion)
    assert len(features) == 1906
    joints = motion.joints()[:, :22]
    assert millimetres_apart(joints, representation.decode(features).joints()[:, :22]) < limit
    assert millimetres_apart(joints, representation.decode_joints(features)) < limit


@pytest.mark.parametrize("suffix", ["npz", "bvh"])
def test_decoded_motion_as_a_file(suffix, tmp_path):
    motion = Streamer272().decode(Streamer272().encode(walk(dtype=torch.float32)))
    motion.save(tmp_path / f"walk.{suffix}")
    again = Motion.load(tmp_path / f"walk.{suffix}")
    assert again.rate_hz == pytest.approx(30)
    torch.testing.assert_close(again.joints()[:, :22].float(), motion.joints()[:, :22], rtol=0, atol=1e-4)


def test_encode_after_decode_is_the_identity():
    representation = Streamer272()
    features = representation.encode(walk())
    torch.testing.assert_close(representation.encode(representation.decode(features)), features, rtol=0, atol=1e-7)


def test_facing_and_place_are_not_told():
    motion = walk()
    turned, moved = face_forward(motion.local_axis_angle, motion.translation + torch.tensor([3.0, 1.0, -2.0]).double())
    again = Motion(local_axis_angle=turned, translation=moved, rate_hz=30)
    representation = Streamer272()
    # `face_forward` turns about the origin, not about the rest pelvis, which is off the vertical axis.
    torch.testing.assert_close(representation.encode(again), representation.encode(motion), rtol=0, atol=1e-3)


def test_first_frame_and_names():
    parts = STREAMER_LAYOUT.split(Streamer272().encode(walk()))
    assert not parts["root_velocity"][0].any()
    assert not parts["velocities"][0].any()
    assert parts["heading_change"][0].tolist() == [1, 0, 0, 0, 1, 0]
    positions = parts["positions"].reshape(-1, 22, 3)
    torch.testing.assert_close(positions[:, 0, [0, 2]], torch.zeros(40, 2).double(), rtol=0, atol=1e-12)
    facing = rot6d_to_matrix(parts["rotations"].reshape(-1, 22, 6))[:, 0] @ torch.tensor([0.0, 0, 1]).double()
    torch.testing.assert_close(facing[:, 0], torch.zeros(40).double(), rtol=0, atol=1e-12)
    assert (facing[:, 2] > 0).all()


def test_heading_is_pinned_at_an_asymmetric_value():
    """0.6 rad about Y turns Z towards X; the change is told with the opposite sign, as published."""
    turns = torch.zeros(2, 22, 3).double()
    turns[1, 0, 1] = 0.6
    joints = torch.zeros(2, 22, 3).double()
    joints[1, :, 0] = 1.0  # a step along X while still facing Z
    features = streamer_features(axis_angle_to_matrix(turns), joints)
    parts = STREAMER_LAYOUT.split(features)
    torch.testing.assert_close(parts["root_velocity"][1], torch.tensor([1.0, 0.0]).double())
    change = rot6d_to_matrix(parts["heading_change"][1])
    torch.testing.assert_close(change, axis_angle_to_matrix(torch.tensor([0, -0.6, 0]).double()))
    torch.testing.assert_close(recover_root(features).undo[1], axis_angle_to_matrix(torch.tensor([0, 0.6, 0]).double()))


@pytest.mark.parametrize("cut", [[40], [1] * 40, [4, 30, 6]])
def test_stream_equals_whole(cut):
    representation = Streamer272()
    features = representation.encode(walk())
    whole, state, pieces = representation.decode(features), representation.init_state(features), []
    for chunk in features.split(cut):
        piece, state = representation.step(chunk, state)
        pieces.append(piece)
    joined = Motion.concatenate(pieces)
    torch.testing.assert_close(joined.local_axis_angle, whole.local_axis_angle, rtol=0, atol=1e-9)
    torch.testing.assert_close(joined.translation, whole.translation, rtol=0, atol=1e-9)


def test_running_product_against_a_loop():
    features = Streamer272().encode(walk()) + 0.05 * torch.randn(40, 272, dtype=torch.float64)
    turns = rot6d_to_matrix(STREAMER_LAYOUT.split(features)["heading_change"])
    product, expected = torch.eye(3).double(), []
    for turn in turns:
        product = turn @ product
        expected.append(product.T)
    torch.testing.assert_close(recover_root(features).undo, torch.stack(expected), rtol=0, atol=1e-12)


def test_leading_axes():
    features = torch.stack([Streamer272().encode(walk(seed=i)) for i in range(4)]).reshape(2, 2, 40, 272)
    assert streamer_smpl85(features).shape == (2, 2, 40, 85)
    torch.testing.assert_close(streamer_joints(features)[1, 0], streamer_joints(features[1, 0]))


def test_body_only_skeleton():
    motion = Streamer272(skeleton=SMPL22).decode(Streamer272().encode(walk()))
    assert motion.skeleton is SMPL22


def test_statistics():
    clips = [torch.randn(30, 272).double(), 3 + torch.randn(20, 272).double()]
    stats = FeatureStats.of(clips, STREAMER_LAYOUT)
    assert len(stats.std.unique()) == 5
    normalised = stats.normalize(clips[0])
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(stats.denormalize(normalised), clips[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="must be positive; the least is 0"):
        FeatureStats(torch.zeros(2), torch.tensor([1.0, 0.0]))


def test_errors():
    motion = walk()
    with pytest.raises(ValueError, match="must run at 30 Hz; got 15"):
        Streamer272().encode(motion.resample(15))
    with pytest.raises(ValueError, match=r"`features` must have shape \(T, 272\)"):
        Streamer272().decode(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="22 body joints"):
        Streamer272(skeleton=SMPL22.subset(SMPL22.names[:3]))
