import dataclasses
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.motion import Motion
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance
from cospeech.skeleton import SMPL22, SMPLX, Skeleton

BEAT2 = Path(__file__).resolve().parents[3] / "shared" / "data" / "2_scott_0_1_1.npz"
MODEST = settings(deadline=None, max_examples=25)


def make_motion(num_frames=12, seed=0, dtype=torch.float32, rate_hz=30, skeleton=SMPLX, **changes) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    fields = {
        "local_axis_angle": torch.randn(num_frames, skeleton.num_joints, 3, generator=generator, dtype=dtype),
        "translation": torch.randn(num_frames, 3, generator=generator, dtype=torch.float64),
        "expressions": torch.randn(num_frames, 4, generator=generator, dtype=torch.float64),
        "betas": torch.randn(5, generator=torch.Generator().manual_seed(99)),
        "rate_hz": rate_hz,
        "skeleton": skeleton,
    }
    return Motion(**{**fields, **changes})


class TestFields:
    def test_keeps_the_dtype_of_each_tensor(self):
        motion = make_motion()
        assert motion.local_axis_angle.dtype == torch.float32
        assert motion.translation.dtype == torch.float64
        assert motion.joints().dtype == torch.float32

    def test_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            make_motion().rate_hz = 60

    def test_rate_is_a_float_and_duration_counts_the_last_frame(self):
        motion = make_motion(45, rate_hz=np.int32(30))
        assert isinstance(motion.rate_hz, float)
        assert motion.duration_seconds == 1.5
        assert len(motion) == motion.num_frames == 45

    def test_repr_says_what_it_holds(self):
        assert repr(make_motion()) == "Motion(12 frames of 55 joints and 4 expressions and 5 betas at 30 Hz, 0.40 s)"

    def test_survives_pickle_and_replace(self):
        motion = make_motion()
        assert pickle.loads(pickle.dumps(motion)).equal(motion)
        assert not dataclasses.replace(motion, rate_hz=60).equal(motion)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"local_axis_angle": torch.zeros(12, 54, 3)}, ValueError, r"\(T, 55, 3\); got \(12, 54, 3\)"),
            ({"local_axis_angle": torch.zeros(12, 165)}, ValueError, r"\(T, 55, 3\); got \(12, 165\)"),
            ({"local_axis_angle": torch.zeros(0, 55, 3)}, ValueError, "at least one frame"),
            ({"local_axis_angle": np.zeros((12, 55, 3))}, TypeError, "must be a torch.Tensor; got ndarray"),
            ({"local_axis_angle": torch.zeros(12, 55, 3).half()}, TypeError, "float32 or float64; got torch.float16"),
            (
                {"translation": torch.zeros(11, 3)},
                ValueError,
                r"`translation` must have shape \(12, 3\); got \(11, 3\)",
            ),
            ({"translation": None}, TypeError, "`translation` must be a torch.Tensor; got NoneType"),
            ({"expressions": torch.zeros(13, 4)}, ValueError, r"`expressions` must have shape \(12, E\)"),
            ({"betas": torch.zeros(1, 5)}, ValueError, r"`betas` must have shape \(B\)"),
            ({"rate_hz": 0}, ValueError, "`rate_hz` must be positive and finite; got 0"),
            ({"rate_hz": math.inf}, ValueError, "`rate_hz`"),
            ({"rate_hz": math.nan}, ValueError, "`rate_hz`"),
            ({"gender": b"female"}, TypeError, "`gender` must be a str; got bytes"),
            ({"betas": torch.zeros(5, device="meta")}, ValueError, "on one device; got cpu, meta"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, error, message):
        with pytest.raises(error, match=message):
            make_motion(**changes)

    def test_to_changes_every_dtype(self):
        motion = make_motion().to(dtype=torch.float64)
        tensors = (motion.local_axis_angle, motion.translation, motion.expressions, motion.betas)
        assert {x.dtype for x in tensors} == {torch.float64}
        with pytest.raises(TypeError, match="float32 or float64"):
            motion.to(dtype=torch.bfloat16)

    def test_equal_sees_every_field(self):
        motion = make_motion()
        assert motion.equal(make_motion())
        others = [
            {"translation": motion.translation + 1},
            {"expressions": None},
            {"betas": motion.betas.double()},
            {"gender": "male"},
            {"skeleton": SMPLX.with_rest_joints(SMPLX.rest_joints * 2)},
        ]
        assert not any(motion.equal(dataclasses.replace(motion, **other)) for other in others)


class TestRotations:
    @pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
    def test_from_local_and_from_global_agree(self, skeleton):
        motion = make_motion(dtype=torch.float64, skeleton=skeleton)
        place = {"translation": motion.translation, "rate_hz": 30, "skeleton": skeleton}
        local = Motion.from_local_rotations(motion.local_rotations(), **place)
        world = Motion.from_global_rotations(motion.global_rotations(), **place)
        for other in (local, world):
            torch.testing.assert_close(other.local_rotations(), motion.local_rotations(), rtol=0, atol=1e-9)
            torch.testing.assert_close(other.joints(), motion.joints(), rtol=0, atol=1e-9)

    def test_rotations_turn_x_towards_y_about_z(self):
        pose = torch.zeros(1, 55, 3)
        pose[0, 0, 2] = 0.6
        motion = make_motion(1, local_axis_angle=pose)
        x_axis = torch.tensor([1.0, 0.0, 0.0])
        expected = torch.tensor([math.cos(0.6), math.sin(0.6), 0.0])
        torch.testing.assert_close(motion.local_rotations()[0, 0] @ x_axis, expected)
        torch.testing.assert_close(motion.global_rotations()[0, 20] @ x_axis, expected)

    def test_the_rest_pose_stands_at_the_rest_joints_moved(self):
        motion = make_motion(2, local_axis_angle=torch.zeros(2, 55, 3))
        expected = SMPLX.rest_joints + motion.translation[:, None].float()
        torch.testing.assert_close(motion.joints(), expected)

    def test_one_joint(self):
        point = Skeleton(names=("root",), parents=(-1,), rest_joints=torch.tensor([[0.0, 1.0, 0.0]]))
        motion = make_motion(3, skeleton=point)
        torch.testing.assert_close(motion.joints()[:, 0], (motion.translation + point.rest_joints.double()).float())

    @pytest.mark.parametrize("shape", [(12, 55, 3), (12, 54, 3, 3), (2, 12, 55, 3, 3)])
    def test_matrices_must_fit(self, shape):
        for make in (Motion.from_global_rotations, Motion.from_local_rotations):
            with pytest.raises(ValueError, match="must have shape"):
                make(torch.zeros(shape), translation=torch.zeros(12, 3), rate_hz=30)


class TestSlices:
    @MODEST
    @given(start=st.none() | st.integers(-15, 15), stop=st.none() | st.integers(-15, 15))
    def test_follow_tensors(self, start, stop):
        motion = make_motion()
        expected = motion.local_axis_angle[start:stop]
        if len(expected) == 0:
            with pytest.raises(ValueError, match="selects none of the motion's 12 frames"):
                motion[start:stop]
            return
        part = motion[start:stop]
        assert torch.equal(part.local_axis_angle, expected)
        assert torch.equal(part.translation, motion.translation[start:stop])
        assert torch.equal(part.expressions, motion.expressions[start:stop])
        assert torch.equal(part.betas, motion.betas)

    def test_are_views(self):
        motion = make_motion()
        assert motion[3:].translation.data_ptr() == motion.translation[3:].data_ptr()

    def test_work_without_expressions_and_betas(self):
        part = make_motion(expressions=None, betas=None)[:3]
        assert part.expressions is None
        assert part.betas is None

    @pytest.mark.parametrize("step", [2, -1])
    def test_refuse_a_step(self, step):
        with pytest.raises(ValueError, match=rf"step 1; got {step}. Use resample"):
            make_motion()[::step]

    def test_refuse_a_number(self):
        with pytest.raises(TypeError, match=r"motion\[3:4\]; got 3"):
            make_motion()[3]


class TestResample:
    def test_own_rate_is_the_same_value(self):
        motion = make_motion()
        assert motion.resample(30) is motion

    @MODEST
    @given(num_frames=st.integers(1, 40), rate_hz=st.sampled_from([15, 24, 25, 29.97, 30, 60, 120]))
    def test_keeps_first_frame_and_duration(self, num_frames, rate_hz):
        motion = make_motion(num_frames)
        other = motion.resample(rate_hz)
        assert other.rate_hz == rate_hz
        assert torch.equal(other.local_axis_angle[0], motion.local_axis_angle[0])
        assert torch.equal(other.translation[0], motion.translation[0])
        assert other.num_frames == max(1, round(num_frames * rate_hz / 30))
        if other.num_frames > 1:
            assert abs(other.duration_seconds - motion.duration_seconds) <= 0.5 / rate_hz + 1e-9
        assert other.local_axis_angle.dtype == torch.float32
        assert other.expressions.dtype == torch.float64

    @MODEST
    @given(num_frames=st.integers(1, 20), factor=st.integers(2, 5))
    def test_up_and_down_by_a_whole_factor_is_exact(self, num_frames, factor):
        motion = make_motion(num_frames)
        assert motion.resample(30 * factor).resample(30).equal(motion)

    def test_down_by_a_whole_factor_picks_frames(self):
        motion = make_motion(12)
        assert torch.equal(motion.resample(10).local_axis_angle, motion.local_axis_angle[::3])

    def test_behind_the_last_frame_it_is_held(self):
        motion = make_motion(4)
        other = motion.resample(60)
        assert torch.equal(other.local_axis_angle[6], motion.local_axis_angle[3])
        assert torch.equal(other.local_axis_angle[7], motion.local_axis_angle[3])

    def test_a_frame_shows_the_same_moment_at_any_rate(self):
        """A steady turn and a steady walk stay steady: no drift between motion and audio."""
        clock = torch.arange(91, dtype=torch.float64) / 30
        pose = torch.zeros(91, 55, 3, dtype=torch.float64)
        pose[:, 16, 1] = 1.1 * clock
        translation = torch.stack([0.5 * clock, 0 * clock, -clock], -1)
        other = make_motion(91, local_axis_angle=pose, translation=translation, expressions=None).resample(23.4)
        expected = (torch.arange(other.num_frames, dtype=torch.float64) / 23.4).clamp(max=3.0)
        expected_pose = torch.zeros(other.num_frames, 55, 3, dtype=torch.float64)
        expected_pose[:, 16, 1] = 1.1 * expected
        distance = geodesic_distance(other.local_rotations(), axis_angle_to_matrix(expected_pose))
        assert distance.max() < 1e-7
        torch.testing.assert_close(other.translation[:, 0], 0.5 * expected, rtol=0, atol=1e-9)

    def test_rotations_take_the_short_way_across_pi(self):
        """Both angles are 0.1 rad from half a turn, on either side; linear interpolation would spin through zero."""
        pose = torch.zeros(2, 55, 3, dtype=torch.float64)
        pose[0, 0, 1], pose[1, 0, 1] = math.pi - 0.1, -(math.pi - 0.1)
        middle = make_motion(2, local_axis_angle=pose).resample(60).local_rotations()[1, 0]
        half_turn = axis_angle_to_matrix(torch.tensor([0.0, math.pi, 0.0], dtype=torch.float64))
        torch.testing.assert_close(middle, half_turn, rtol=0, atol=1e-9)

    def test_blocks_do_not_show(self):
        """Longer than one block of frames, against the definition."""
        motion = make_motion(2500, skeleton=SMPL22, dtype=torch.float64)
        whole, part = motion.resample(48), motion[1000:].resample(48)
        torch.testing.assert_close(whole.local_rotations()[1600:], part.local_rotations(), rtol=0, atol=1e-9)

    def test_gradients_are_finite(self):
        pose = torch.zeros(3, 55, 3, requires_grad=True)  # equal neighbours and zero angles: the hard spots
        make_motion(3, local_axis_angle=pose).resample(50).joints().square().sum().backward()
        assert pose.grad.isfinite().all()

    @pytest.mark.parametrize("rate_hz", [0, -30, math.nan])
    def test_refuses_a_rate(self, rate_hz):
        with pytest.raises(ValueError, match="`rate_hz` must be positive"):
            make_motion().resample(rate_hz)


class TestWindowsAndConcatenation:
    @MODEST
    @given(total=st.integers(1, 40), num_frames=st.integers(1, 15), data=st.data())
    def test_windows_joined_over_their_overlap_are_the_clip(self, total, num_frames, data):
        overlap_frames = data.draw(st.integers(0, num_frames - 1))
        motion = make_motion(total)
        windows = motion.windows(num_frames, overlap_frames)
        assert all(window.num_frames == num_frames for window in windows[:-1])
        assert windows[-1].num_frames <= num_frames
        assert len(windows) == 1 or windows[-1].num_frames > overlap_frames
        assert Motion.concatenate(windows, crossfade_frames=overlap_frames).equal(motion)

    @MODEST
    @given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), data=st.data())
    def test_frame_count_law(self, lengths, data):
        crossfade_frames = data.draw(st.integers(0, min(lengths)))
        motions = [make_motion(length, seed=i) for i, length in enumerate(lengths)]
        joined = Motion.concatenate(motions, crossfade_frames)
        assert joined.num_frames == sum(lengths) - crossfade_frames * (len(lengths) - 1)
        assert joined.local_axis_angle.isfinite().all()

    def test_outside_the_seam_nothing_changes(self):
        first, second = make_motion(10, seed=1), make_motion(8, seed=2)
        joined = Motion.concatenate([first, second], crossfade_frames=3)
        assert joined[:7].equal(first[:7])
        assert joined[10:].equal(second[3:])

    def test_seam_by_the_slow_way(self):
        first, second = make_motion(5, seed=1, dtype=torch.float64), make_motion(5, seed=2, dtype=torch.float64)
        joined = Motion.concatenate([first, second], crossfade_frames=3)
        for k in range(3):
            weight = (k + 1) / 4
            a, b = first.translation[2 + k], second.translation[k]
            torch.testing.assert_close(joined.translation[2 + k], (1 - weight) * a + weight * b)
            start, end = first.local_rotations()[2 + k], second.local_rotations()[k]
            seam = joined.local_rotations()[2 + k]
            total = geodesic_distance(start, end)
            torch.testing.assert_close(geodesic_distance(start, seam), weight * total, rtol=0, atol=1e-6)
            torch.testing.assert_close(geodesic_distance(seam, end), (1 - weight) * total, rtol=0, atol=1e-6)

    def test_one_frame_each(self):
        motions = [make_motion(1, seed=1), make_motion(1, seed=2)]
        joined = Motion.concatenate(motions, crossfade_frames=1)
        assert joined.num_frames == 1
        torch.testing.assert_close(joined.translation, (motions[0].translation + motions[1].translation) / 2)

    def test_without_expressions(self):
        motions = [make_motion(4, seed=i, expressions=None) for i in range(2)]
        assert Motion.concatenate(motions, 2).expressions is None

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"rate_hz": 60}, "agree in rate_hz; motion 0 has 30.0, motion 1 has 60.0"),
            ({"gender": "male"}, "agree in gender"),
            ({"skeleton": SMPLX.with_rest_joints(SMPLX.rest_joints * 2)}, "share one skeleton; motion 1"),
            ({"betas": None}, "share one body shape; motion 1"),
            ({"expressions": None}, "equally many expressions; motion 0 has 4, motion 1 None"),
        ],
    )
    def test_refuses_motions_that_do_not_go_together(self, changes, message):
        with pytest.raises(ValueError, match=message):
            Motion.concatenate([make_motion(), make_motion(**changes)])

    def test_refuses_motions_on_different_devices(self):
        with pytest.raises(ValueError, match="agree in device"):
            Motion.concatenate([make_motion(), make_motion().to("meta")])

    def test_refuses_counts_out_of_range(self):
        motion = make_motion()
        with pytest.raises(ValueError, match="at least one motion; got none"):
            Motion.concatenate([])
        with pytest.raises(ValueError, match="from 0 to the shortest motion's 12 frames; got 13"):
            Motion.concatenate([motion, motion], 13)
        with pytest.raises(ValueError, match="from 0 to the shortest"):
            Motion.concatenate([motion, motion], -1)
        with pytest.raises(ValueError, match="`num_frames` must be at least 1; got 0"):
            motion.windows(0)
        with pytest.raises(ValueError, match="below num_frames=4; got 4"):
            motion.windows(4, 4)


class TestFiles:
    @pytest.mark.skipif(not BEAT2.exists(), reason="the BEAT2 sample is not here")
    def test_a_beat2_file_comes_back_bit_for_bit(self, tmp_path):
        Motion.load(BEAT2).save(tmp_path / "copy.npz")
        with np.load(BEAT2, allow_pickle=False) as ours, np.load(tmp_path / "copy.npz", allow_pickle=False) as theirs:
            assert list(ours) == list(theirs)
            for key in ours:
                assert ours[key].dtype == theirs[key].dtype
                assert ours[key].shape == theirs[key].shape
                assert ours[key].tobytes() == theirs[key].tobytes()

    @pytest.mark.parametrize("name", ["clip.npz", "CLIP.NPZ", "a.b.npz"])
    @pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
    def test_npz_keeps_everything(self, tmp_path, name, skeleton):
        motion = make_motion(skeleton=skeleton, gender="female", model="smplx", rate_hz=29.97)
        motion.save(tmp_path / name)
        assert Motion.load(tmp_path / name).equal(motion)

    def test_bvh_keeps_how_the_body_moves(self, tmp_path):
        motion = make_motion()
        motion.save(tmp_path / "clip.bvh")
        loaded = Motion.load(str(tmp_path / "clip.bvh"))
        assert loaded.skeleton == SMPLX
        assert loaded.expressions is None
        torch.testing.assert_close(loaded.joints(), motion.joints(), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["clip.html", "clip", "clip.npz.gz"])
    def test_other_suffixes_are_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match=r"must end in \.npz or \.bvh"):
            make_motion().save(tmp_path / name)
        with pytest.raises(ValueError, match=r"must end in \.npz or \.bvh"):
            Motion.load(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_npz_has_no_unit(self, tmp_path):
        with pytest.raises(ValueError, match=r"`units_per_metre` is for \.bvh"):
            make_motion().save(tmp_path / "clip.npz", units_per_metre=100)

    def test_a_missing_file_is_the_usual_error(self, tmp_path):
        for name in ("none.npz", "none.bvh"):
            with pytest.raises(FileNotFoundError):
                Motion.load(tmp_path / name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestCuda:
    def test_everything_stays_where_it_is(self, tmp_path):
        motion = make_motion(40)
        there = motion.to("cuda")
        assert there.equal(motion)
        assert there.to("cpu").equal(motion)
        assert {x.device.type for x in (there.joints(), there.global_rotations(), there.resample(50).expressions)} == {
            "cuda"
        }
        torch.testing.assert_close(there.joints().cpu(), motion.joints(), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            there.resample(50).local_rotations().cpu(), motion.resample(50).local_rotations(), rtol=0, atol=1e-5
        )
        assert Motion.concatenate(there.windows(16, 4), 4).equal(motion)
        for name in ("clip.npz", "clip.bvh"):
            there.save(tmp_path / name)
        assert Motion.load(tmp_path / "clip.npz").equal(motion)
        torch.testing.assert_close(Motion.load(tmp_path / "clip.bvh").joints(), motion.joints(), rtol=0, atol=1e-5)
