from __future__ import annotations

import pytest
import torch

from cospeech.motion import Motion
from cospeech.representations import GlobalRot6D, globaldiff_flip, globaldiff_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance
from cospeech.skeleton import SMPL22, SMPLX


def some_motion(num_frames=7, skeleton=SMPLX, size=0.4, dtype=torch.float32, **rest):
    generator = torch.Generator().manual_seed(0)
    shape = (num_frames, skeleton.num_joints, 3)
    return Motion(
        local_axis_angle=size * torch.randn(shape, generator=generator, dtype=dtype),
        translation=torch.randn(num_frames, 3, generator=generator, dtype=dtype),
        skeleton=skeleton,
        rate_hz=30,
        **rest,
    )


@pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
@pytest.mark.parametrize("num_frames", [1, 7])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_decode_undoes_encode(skeleton, num_frames, dtype, tolerance):
    motion = some_motion(num_frames, skeleton, dtype=dtype)
    representation = GlobalRot6D(skeleton=skeleton)
    features = representation.encode(motion)
    assert features.shape == (num_frames, 6 * skeleton.num_joints + 3)
    back = representation.decode(features)
    torch.testing.assert_close(back.local_axis_angle, motion.local_axis_angle, rtol=0, atol=tolerance)
    assert torch.equal(back.translation, motion.translation)
    assert back.expressions is None
    assert (back.rate_hz, back.skeleton) == (30, skeleton)


def test_rotations_are_the_worlds_row_by_row():
    """A turn of the root by 0.6 about Z, alone, is every joint's rotation; its rows, not columns, are kept."""
    local = torch.zeros(1, 55, 3)
    local[0, 0, 2] = 0.6
    features = GlobalRot6D().encode(Motion(local_axis_angle=local, translation=torch.zeros(1, 3), rate_hz=30))
    cos, sin = torch.tensor(0.6).cos(), torch.tensor(0.6).sin()
    expected = torch.stack([cos, -sin, 0 * cos, sin, cos, 0 * cos])
    torch.testing.assert_close(features[0, :330].view(55, 6), expected.expand(55, 6))


def test_expressions_come_last():
    motion = some_motion(expressions=torch.randn(7, 10))
    representation = GlobalRot6D(num_expressions=10)
    features = representation.encode(motion)
    assert torch.equal(features[:, 333:], motion.expressions)
    assert torch.equal(representation.decode(features).expressions, motion.expressions)
    assert GlobalRot6D().encode(motion).shape == (7, 333)


def test_features_need_not_be_orthonormal():
    motion = some_motion()
    features = GlobalRot6D().encode(motion)
    stretched = torch.cat([2.5 * features[:, :330], features[:, 330:]], dim=1)
    back = GlobalRot6D().decode(stretched)
    torch.testing.assert_close(back.local_axis_angle, motion.local_axis_angle, rtol=0, atol=2e-5)


def test_published_conversion_differs_only_near_pi():
    motion, published = some_motion(), GlobalRot6D(matrix_to_axis_angle=globaldiff_matrix_to_axis_angle)
    back = published.decode(published.encode(motion))
    torch.testing.assert_close(back.local_axis_angle, motion.local_axis_angle, rtol=1e-4, atol=1e-5)

    local = torch.zeros(1, 55, 3)
    local[:, 4] = torch.tensor([0.0, 3.14, 0.0])
    motion = Motion(local_axis_angle=local, translation=torch.zeros(1, 3), rate_hz=30)
    exact = GlobalRot6D().decode(published.encode(motion)).local_axis_angle
    lossy = published.decode(published.encode(motion)).local_axis_angle
    torch.testing.assert_close(exact, local, rtol=0, atol=1e-5)
    distance = geodesic_distance(axis_angle_to_matrix(lossy), axis_angle_to_matrix(local)).amax()
    assert 0.01 < distance < 0.03


def test_messages():
    motion = some_motion()
    with pytest.raises(ValueError, match=r"must run at 30 Hz; got 15\. Use motion\.resample"):
        GlobalRot6D().encode(motion.resample(15))
    with pytest.raises(ValueError, match="must have the 22 joints"):
        GlobalRot6D(skeleton=SMPL22).encode(motion)
    with pytest.raises(ValueError, match="must have 10 expressions; got none"):
        GlobalRot6D(num_expressions=10).encode(motion)
    with pytest.raises(ValueError, match=r"`features` must have shape \(T, 333\)"):
        GlobalRot6D().decode(torch.zeros(4, 433))


def test_flip_twice_is_nothing_and_leaves_the_spine():
    motion = some_motion()
    flipped, translation = globaldiff_flip(motion.local_axis_angle, motion.translation)
    back, translation_back = globaldiff_flip(flipped, translation)
    assert torch.equal(back, motion.local_axis_angle)
    assert torch.equal(translation_back, motion.translation)
    midline = [joint for joint in range(1, 55) if SMPLX.mirror_permutation[joint] == joint]
    assert torch.equal(flipped[:, midline], motion.local_axis_angle[:, midline])
    left, right = SMPLX.mirror_pairs[0]
    mirror = torch.tensor([1.0, -1.0, -1.0])
    assert torch.equal(flipped[:, left], motion.local_axis_angle[:, right] * mirror)
    assert torch.equal(flipped[:, 0], motion.local_axis_angle[:, 0] * mirror)
