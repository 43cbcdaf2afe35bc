"""Laws of the procedural motion: same seed same clip, planted feet, human limits, strokes on stresses, four people."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cospeech.data.synthetic import SPEAKERS, animate_speech, make_clip, rest_clip
from cospeech.data.synthetic.curves import Track, minimum_jerk, slow_noise
from cospeech.data.synthetic.face import BLINK, BROWS, LIPS_OPEN, LIPS_SPREAD, SMILE
from cospeech.data.synthetic.limbs import solve_two_bones
from cospeech.metrics import foot_slide, mean_jerk
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, forward_kinematics

WRISTS = [SMPLX.index("left_wrist"), SMPLX.index("right_wrist")]
BALLS = [SMPLX.index("left_foot"), SMPLX.index("right_foot")]


@pytest.fixture(scope="module")
def clips():
    return [make_clip(12.0, speaker, seed=11) for speaker in (1, 2, 3, 4)]


def joints_of(clip) -> torch.Tensor:
    return forward_kinematics(clip.local_rotations, SMPLX, clip.translation)


def test_same_seed_same_clip(clips) -> None:
    again, other = make_clip(12.0, 2, seed=11), make_clip(12.0, 2, seed=12)
    assert torch.equal(again.local_rotations, clips[1].local_rotations)
    assert torch.equal(again.waveform, clips[1].waveform)
    assert not torch.equal(other.local_rotations, clips[1].local_rotations)


@pytest.mark.parametrize("seconds", [0.1, 2.0, 7.33])
def test_shapes(seconds: float) -> None:
    clip = make_clip(seconds, 1, seed=0)
    frames = round(seconds * 30)
    assert clip.local_rotations.shape == (frames, 55, 3, 3)
    assert clip.translation.shape == (frames, 3)
    assert clip.expressions.shape == (frames, 100)
    assert clip.waveform.shape == (round(seconds * 16000),)


def test_rotations_are_rotations(clips) -> None:
    for clip in clips:
        identity = clip.local_rotations @ clip.local_rotations.transpose(-1, -2)
        assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-5)
        assert torch.allclose(torch.linalg.det(clip.local_rotations), torch.ones(()), atol=1e-5)


def test_feet_are_planted_on_the_ground(clips) -> None:
    for clip in clips:
        balls = joints_of(clip)[:, BALLS]
        assert (balls - balls[0]).norm(dim=-1).max() < 1e-4
        assert torch.allclose(balls[..., 1], torch.full((), 0.02), atol=1e-4)
        assert foot_slide(balls, 30.0).share == 0
        assert 0.85 < joints_of(clip)[:, 0, 1].mean() < 0.95
        lowest = joints_of(clip)[..., 1].min()
        assert lowest > 0


def test_weight_goes_from_foot_to_foot() -> None:
    clip = make_clip(40.0, 2, seed=3)
    sideways = joints_of(clip)[:, 0, 0]
    assert sideways.max() - sideways.min() > 0.03


def test_limbs_stay_within_human_limits(clips) -> None:
    """Hinges bend one way; nothing twists further than people's joints."""
    for clip in clips:
        angles = matrix_to_axis_angle(clip.local_rotations)
        for name, limit in {
            "shoulder": 2.2, "wrist": 1.1, "collar": 0.5, "hip": 1.2, "ankle": 0.9, "foot": 0.5,
        }.items():  # fmt: skip
            for side in ("left", "right"):
                assert angles[:, SMPLX.index(f"{side}_{name}")].norm(dim=-1).max() < limit, name
        for name in ("neck", "head", "spine1", "spine2", "spine3"):
            assert angles[:, SMPLX.index(name)].norm(dim=-1).max() < 0.4
        for side in ("left", "right"):
            knee = angles[:, SMPLX.index(f"{side}_knee")]
            assert knee[:, 0].min() > 0.0
            assert knee[:, 0].max() < 1.2
            assert knee[:, 1:].abs().max() < 0.2
            assert elbow_bend(clip, side).min() > 0.05
            assert elbow_bend(clip, side).max() < 2.5
        jaw = angles[:, SMPLX.index("jaw")]
        assert jaw[:, 0].min() > -1e-5
        assert jaw[:, 0].max() < 0.3
        hands = angles[:, list(SMPLX.groups["hands"])].norm(dim=-1)
        assert hands.max() < 1.3


def elbow_bend(clip, side: str) -> torch.Tensor:
    """Angle between upper arm and forearm, 0 for a straight arm, towards the front of the arm only."""
    joints = joints_of(clip)
    shoulder, elbow, wrist = (joints[:, SMPLX.index(f"{side}_{name}")] for name in ("shoulder", "elbow", "wrist"))
    upper, lower = elbow - shoulder, wrist - elbow
    return torch.acos((torch.cosine_similarity(upper, lower, dim=-1)).clamp(-1, 1))


def test_motion_is_smooth(clips) -> None:
    for clip in clips:
        joints = joints_of(clip)
        assert mean_jerk(joints, 30.0) < 110  # a real, calm speaker of BEAT2: 64
        assert (joints.diff(dim=0) * 30).norm(dim=-1).max() < 3.5  # finger tips; wrists stay below 2


def test_strokes_end_with_the_stressed_vowel(clips) -> None:
    for clip in clips:
        ends = np.array([beat.end for beat in clip.beats])
        assert len(ends) >= 4
        distance = np.abs(ends[:, None] - clip.stresses.seconds).min(1)
        assert distance.max() < 0.06
        assert all(0.15 < beat.end - beat.start < 0.35 for beat in clip.beats)


def test_hands_are_slower_at_the_end_of_a_stroke_than_in_it(clips) -> None:
    for clip in clips:
        speed = (joints_of(clip)[:, WRISTS].diff(dim=0) * 30).norm(dim=-1).amax(-1)
        during = torch.stack([speed[int(30 * beat.start) : int(30 * beat.end)].max() for beat in clip.beats[:-1]])
        after = torch.stack([speed[round(30 * beat.end) : round(30 * beat.end) + 3].min() for beat in clip.beats[:-1]])
        assert (after < 0.6 * during).float().mean() > 0.9


def test_silence_is_rest() -> None:
    clip = animate_speech(np.zeros(160_000, dtype=np.float32), 1, np.random.default_rng(0))
    wrists = joints_of(clip)[:, WRISTS]
    assert not clip.beats
    assert (wrists - wrists[0]).norm(dim=-1).max() < 0.08
    assert clip.expressions[:, LIPS_OPEN].max() == 0


def test_every_clip_starts_in_the_rest_pose(clips) -> None:
    for clip in clips:
        rest = rest_clip(clip.speaker, num_frames=8)
        assert rest.local_rotations.shape == (8, 55, 3, 3)
        body = [joint for joint in range(55) if joint != SMPLX.index("jaw")]
        assert torch.allclose(rest.local_rotations[0, body], clip.local_rotations[0, body], atol=2e-3)
        assert torch.allclose(rest.translation[0], clip.translation[0], atol=2e-3)


def test_speakers_differ(clips) -> None:
    rests = torch.stack([joints_of(rest_clip(speaker, 1))[0] for speaker in (1, 2, 3, 4)])
    for one in range(4):
        for other in range(one):
            assert (rests[one] - rests[other])[WRISTS].norm(dim=-1).max() > 0.05
    path = torch.stack([(joints_of(clip)[:, WRISTS].diff(dim=0)).norm(dim=-1).sum(0) for clip in clips])
    assert path[0, 1] > 3 * path[0, 0]  # right-handed
    assert path[2, 0] > 3 * path[2, 1]  # left-handed
    assert path[1].min() > 0.5 * path[1].max()  # two-handed
    assert len({style.name for style in SPEAKERS}) == 4


def test_face_uses_five_coefficients(clips) -> None:
    for clip in clips:
        used = {LIPS_OPEN, LIPS_SPREAD, BROWS, BLINK, SMILE}
        assert set(torch.nonzero(clip.expressions.abs().amax(0)).flatten().tolist()) <= used
        assert clip.expressions.abs().max() < 3
        jaw = matrix_to_axis_angle(clip.local_rotations)[:, SMPLX.index("jaw"), 0]
        assert torch.corrcoef(torch.stack([jaw, clip.expressions[:, LIPS_OPEN]]))[0, 1] > 0.99


def test_unknown_speaker() -> None:
    with pytest.raises(ValueError, match="between 1 and 4; got 5"):
        make_clip(1.0, 5, seed=0)


def test_minimum_jerk_starts_and_stops_gently() -> None:
    x = minimum_jerk(np.linspace(0, 1, 10_001))
    speed = np.gradient(x, 1e-4)
    assert abs(speed[0]) < 1e-3
    assert abs(speed[-1]) < 1e-3
    assert speed.max() == pytest.approx(1.875, abs=1e-3)
    assert (np.diff(x) >= 0).all()


def test_track_reaches_its_targets() -> None:
    track = Track([0.0, 1.0])
    track.reach([2.0, 3.0], start=0.5, end=1.0)
    track.reach([-1.0, 0.0], start=0.9, end=1.5)  # overlaps the first
    curve = track.curve(np.array([0.0, 0.5, 5.0]))
    assert np.allclose(curve, [[0, 1], [0, 1], [-1, 0]])


def test_slow_noise_has_unit_deviation_and_is_slow() -> None:
    noise = slow_noise(20_000, 2, 20, np.random.default_rng(0))
    assert noise.shape == (20_000, 2)
    assert noise.std() == pytest.approx(1.0, abs=0.1)
    assert np.diff(noise, axis=0).std() < 0.06


vectors = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


@settings(deadline=None, max_examples=60)
@given(direction=vectors, share=st.floats(0.3, 0.99), turn=vectors)
def test_two_bones_reach_what_is_in_reach(direction: list[float], share: float, turn: list[float]) -> None:
    way = torch.tensor(direction, dtype=torch.float64) + 1e-3
    way = way / way.norm()
    pole = torch.linalg.cross(way, torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64))
    if pole.norm() < 0.1:
        return
    upper, lower = torch.tensor([[0.25, -0.03, 0.01], [0.24, 0.02, -0.01]], dtype=torch.float64)
    rotation = axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float64))
    upper, lower = rotation @ upper, rotation @ lower
    axis = rotation @ torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    target = way * share * 0.49
    pose = solve_two_bones(torch.zeros(3, dtype=torch.float64), target, pole, upper, lower, axis)
    assert torch.allclose(pose.reached, target, atol=1e-6)
    assert pose.hinge_angle >= 0
    # The slow twin: pose the two bones with SciPy and measure where the end is.
    axis = axis - upper * (axis @ upper) / (upper @ upper)
    bend = Rotation.from_rotvec((axis / axis.norm() * pose.hinge_angle).numpy())
    end = pose.upper_rotation.numpy() @ (upper.numpy() + bend.apply(lower.numpy()))
    assert np.allclose(end, target, atol=1e-6)
    elbow = pose.upper_rotation @ upper
    sideways = elbow - (elbow @ way) * way
    assert sideways @ pole > -1e-9


def test_two_bones_do_not_tear_beyond_reach() -> None:
    bone = torch.tensor([0.3, 0.0, 0.0])
    axis, pole = torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.0, 0.0, -1.0])
    pose = solve_two_bones(torch.zeros(3), torch.tensor([2.0, 0.0, 0.0]), pole, bone, bone, axis)
    assert pose.reached.norm() == pytest.approx(0.6 * 0.999, abs=1e-5)
