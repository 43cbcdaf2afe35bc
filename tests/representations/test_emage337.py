import dataclasses

import pytest
import torch

from cospeech.motion import Motion
from cospeech.representations import Emage337, emage_foot_contact, emage_matrix_to_axis_angle
from cospeech.rotations import axis_angle_to_matrix


def clip(num_frames=7):
    generator = torch.Generator().manual_seed(0)
    return Motion(
        local_axis_angle=0.3 * torch.randn(num_frames, 55, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator),
        rate_hz=30.0,
    )


@pytest.mark.parametrize("convert", [None, emage_matrix_to_axis_angle])
def test_decode_after_encode(convert):
    representation = Emage337() if convert is None else Emage337(matrix_to_axis_angle=convert)
    motion = clip()
    back = representation.decode(representation.encode(motion))
    torch.testing.assert_close(back.local_axis_angle, motion.local_axis_angle, rtol=0, atol=1e-3)
    assert torch.equal(back.translation, motion.translation)


def test_one_frame_stands():
    features = Emage337().encode(clip(1))
    assert features.shape == (1, 337)
    assert features[0, -4:].tolist() == [1.0] * 4


def test_contact_is_told_from_the_steps():
    feet = torch.zeros(4, 2, 3)
    feet[2:, 1, 0] = 0.011
    assert emage_foot_contact(feet).tolist() == [[True, True], [True, False], [True, True], [True, True]]
    assert emage_foot_contact(feet, max_step_metres=0.02).all()


def test_published_quirk_of_small_angles():
    small = torch.tensor([1e-4, 0.0, 0.0])
    assert not emage_matrix_to_axis_angle(axis_angle_to_matrix(small)).any()


def test_errors():
    with pytest.raises(ValueError, match="must run at 30 Hz; got 25"):
        Emage337().encode(dataclasses.replace(clip(), rate_hz=25.0))
    with pytest.raises(ValueError, match=r"`features` must have shape \(T, 337\); got \(2, 333\)"):
        Emage337().decode(torch.zeros(2, 333))
