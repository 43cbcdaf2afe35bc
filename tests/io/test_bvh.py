import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.errors import MotionFileError
from cospeech.io import MotionArrays, load_bvh, save_bvh
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance
from cospeech.skeleton import SMPL22, SMPLX, Skeleton, forward_kinematics

BEAT_HEADER = Path(__file__).resolve().parents[3] / "shared" / "golden" / "diffsheg_beat_skeleton.bvh"

HAND_MADE = """\
HIERARCHY
ROOT Hips
{
    OFFSET 0 0.5 0
    CHANNELS 6 Yrotation Zposition Xrotation Xposition Zrotation Yposition
    JOINT Upper Arm
    {
        OFFSET 1 0 0
        CHANNELS 3 Xrotation Yrotation Zrotation
        End Site
        {
            OFFSET 1 0 0
        }
    }
    JOINT Knee
    {
        OFFSET 0 -1 0
        CHANNELS 1 Xrotation
        JOINT Toe
        {
            OFFSET 0 -1 0
            CHANNELS 0
            End Site
            {
                OFFSET 0 0 1
            }
        }
    }
}
MOTION
Frames: 2
Frame Time: 0.008333
0 30 0 10 90 20  0 0 0  0
10 30 20 10 30 20  40 50 60  70
"""


def make_arrays(num_frames=4, skeleton=SMPLX, scale=1.0, **changes) -> MotionArrays:
    generator = torch.Generator().manual_seed(0)
    arrays = MotionArrays(
        local_axis_angle=scale * torch.randn(num_frames, skeleton.num_joints, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator, dtype=torch.float64),
        expressions=None,
        betas=None,
        rate_hz=30.0,
        skeleton=skeleton,
    )
    return arrays._replace(**changes)


def rotations(arrays: MotionArrays) -> torch.Tensor:
    return axis_angle_to_matrix(arrays.local_axis_angle.double())


def joints(arrays: MotionArrays) -> torch.Tensor:
    rest_joints = arrays.skeleton.rest_joints.double()
    return forward_kinematics(rotations(arrays), arrays.skeleton, arrays.translation.double(), rest_joints)


def turn(axis: str, degrees: float) -> np.ndarray:
    """A matrix that turns Y towards Z, Z towards X or X towards Y."""
    a, b = {"X": (1, 2), "Y": (2, 0), "Z": (0, 1)}[axis]
    matrix, angle = np.eye(3), math.radians(degrees)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
    return matrix


def write(path, text):
    path.write_text(text, newline="")
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
    @pytest.mark.parametrize("num_frames", [1, 2, 700])
    def test_rotations_and_root_come_back(self, tmp_path, skeleton, num_frames):
        arrays = make_arrays(num_frames, skeleton)
        save_bvh(tmp_path / "a.bvh", arrays)
        loaded = load_bvh(tmp_path / "a.bvh")
        assert loaded.skeleton is skeleton
        assert loaded.rate_hz == 30
        assert geodesic_distance(rotations(arrays), rotations(loaded)).max() < 1e-6
        torch.testing.assert_close(loaded.translation.double(), arrays.translation, rtol=0, atol=1.1e-6)

    @pytest.mark.parametrize("angle", [0.0, 1e-8, math.pi / 2, math.pi - 1e-6, math.pi])
    @pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (0.6, 0, 0.8)])
    def test_the_hard_spots_of_euler_angles(self, tmp_path, angle, axis):
        pose = angle * torch.tensor(axis, dtype=torch.float64).expand(2, 55, 3).contiguous()
        arrays = make_arrays(2, local_axis_angle=pose)
        save_bvh(tmp_path / "a.bvh", arrays)
        assert geodesic_distance(rotations(arrays), rotations(load_bvh(tmp_path / "a.bvh"))).max() < 1e-6

    @pytest.mark.parametrize("rate_hz", [24.0, 25.0, 30.0, 29.97, 59.94, 60.0, 120.0, 1000.0, 0.5, 0.3])
    def test_rates_come_back(self, tmp_path, rate_hz):
        save_bvh(tmp_path / "a.bvh", make_arrays(rate_hz=rate_hz))
        assert load_bvh(tmp_path / "a.bvh").rate_hz == rate_hz

    def test_another_persons_proportions_come_back(self, tmp_path):
        person = SMPLX.with_rest_joints(1.1 * SMPLX.rest_joints)
        arrays = make_arrays(skeleton=person)
        save_bvh(tmp_path / "a.bvh", arrays)
        loaded = load_bvh(tmp_path / "a.bvh")
        assert loaded.skeleton.names == SMPLX.names
        assert loaded.skeleton.groups == SMPLX.groups
        torch.testing.assert_close(joints(loaded), joints(arrays), rtol=0, atol=1e-5)

    def test_any_skeleton_comes_back(self, tmp_path):
        rest = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.5, 0.0], [0.3, 1.0, 0.0], [0.3, 0.5, 0.1], [0.0, 1.8, 0.0]])
        tree = Skeleton(names=("hips", "a chest", "leg", "foot", "head"), parents=(-1, 0, 0, 2, 1), rest_joints=rest)
        arrays = make_arrays(6, tree)
        save_bvh(tmp_path / "a.bvh", arrays)
        loaded = load_bvh(tmp_path / "a.bvh")
        assert loaded.skeleton.names == ("hips", "a_chest", "head", "leg", "foot")
        assert loaded.skeleton.parents == (-1, 0, 1, 0, 3)
        torch.testing.assert_close(joints(loaded), joints(arrays)[:, [0, 1, 4, 2, 3]], rtol=0, atol=1e-5)
        save_bvh(tmp_path / "b.bvh", loaded)
        assert load_bvh(tmp_path / "b.bvh").skeleton.names == loaded.skeleton.names

    def test_one_joint(self, tmp_path):
        point = Skeleton(names=("root",), parents=(-1,), rest_joints=torch.tensor([[0.0, 1.0, 0.0]]))
        arrays = make_arrays(skeleton=point)
        save_bvh(tmp_path / "a.bvh", arrays)
        torch.testing.assert_close(joints(load_bvh(tmp_path / "a.bvh")), joints(arrays), rtol=0, atol=1e-5)

    def test_centimetres(self, tmp_path):
        arrays = make_arrays()
        save_bvh(tmp_path / "a.bvh", arrays, units_per_metre=100)
        for units_per_metre in (None, 100):
            loaded = load_bvh(tmp_path / "a.bvh", units_per_metre=units_per_metre)
            assert loaded.skeleton is SMPLX
            torch.testing.assert_close(joints(loaded), joints(arrays), rtol=0, atol=1e-5)
        as_metres = load_bvh(tmp_path / "a.bvh", units_per_metre=1)
        assert np.ptp(as_metres.skeleton.rest_joints.numpy(), axis=0).max() > 100


class TestWhatIsWritten:
    def test_the_layout_that_programs_expect(self, tmp_path):
        save_bvh(tmp_path / "a.bvh", make_arrays(3))
        text = (tmp_path / "a.bvh").read_text()
        assert text.startswith(
            "HIERARCHY\nROOT pelvis\n{\n\tOFFSET 0.000000 0.000000 0.000000\n"
            "\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n\tJOINT left_hip\n\t{\n"
        )
        header, _, frames = text.partition("MOTION\n")
        assert header.count("JOINT ") == 54
        assert header.count("{") == header.count("}") == 55 + header.count("End Site")
        children = {SMPLX.names[parent] for parent in SMPLX.parents[1:]}
        assert header.count("End Site") == 55 - len(children)
        assert frames.startswith("Frames: 3\nFrame Time: 0.0333333")
        assert [len(row.split()) for row in frames.splitlines()[2:]] == [168] * 3

    def test_root_position_is_its_place_in_the_world(self, tmp_path):
        arrays = make_arrays(1)
        save_bvh(tmp_path / "a.bvh", arrays)
        row = (tmp_path / "a.bvh").read_text().splitlines()[-1].split()
        expected = SMPLX.rest_joints[0].double() + arrays.translation[0]
        np.testing.assert_allclose([float(x) for x in row[:3]], expected, atol=1e-6)

    def test_angles_are_in_the_written_order(self, tmp_path):
        """Pinned at an asymmetric value, so that no transpose, sign or order passes."""
        pose = torch.zeros(1, 55, 3)
        pose[0, 0] = torch.tensor([0.0, 0.0, 0.6])
        pose[0, 1] = torch.tensor([0.3, -0.5, 0.7])
        save_bvh(tmp_path / "a.bvh", make_arrays(1, local_axis_angle=pose))
        row = [float(x) for x in (tmp_path / "a.bvh").read_text().splitlines()[-1].split()]
        np.testing.assert_allclose(row[3:6], [math.degrees(0.6), 0, 0], atol=1e-5)
        z, x, y = row[6:9]  # left_hip is the first child
        expected = axis_angle_to_matrix(pose[0, 1].double()).numpy()
        np.testing.assert_allclose(turn("Z", z) @ turn("X", x) @ turn("Y", y), expected, atol=1e-6)

    def test_angles_run_on_through_half_a_turn(self, tmp_path):
        """Two whole turns about Y over several blocks of frames."""
        angle = torch.linspace(0, 4 * math.pi, 1500, dtype=torch.float64)
        pose = torch.zeros(1500, 55, 3, dtype=torch.float64)
        pose[:, 0, 1] = angle
        save_bvh(tmp_path / "a.bvh", make_arrays(1500, local_axis_angle=pose))
        rows = np.loadtxt((tmp_path / "a.bvh").read_text().splitlines()[-1500:])
        np.testing.assert_allclose(rows[:, 5], np.degrees(angle.numpy()), atol=1e-5)

    @pytest.mark.parametrize("num_frames", [1, 5])
    @pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
    def test_bvhio_sees_the_same_joints(self, tmp_path, skeleton, num_frames):
        bvhio = pytest.importorskip("bvhio")
        arrays = make_arrays(num_frames, skeleton)
        save_bvh(tmp_path / "a.bvh", arrays)
        root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh"))
        expected = joints(arrays)
        for frame in range(num_frames):
            root.loadPose(frame)
            places = {joint.Name: joint.PositionWorld for joint, _, _ in root.layout()}
            ours = dict(zip(skeleton.names, expected[frame].tolist(), strict=True))
            assert places.keys() == ours.keys()
            for name, place in places.items():
                np.testing.assert_allclose(list(place), ours[name], atol=1e-5)

    def test_what_cannot_be_written_leaves_no_file(self, tmp_path):
        with pytest.raises(ValueError, match="`translation` must be finite to be saved"):
            save_bvh(tmp_path / "a.bvh", make_arrays(translation=torch.full((4, 3), torch.nan)))
        with pytest.raises(ValueError, match="`units_per_metre` must be positive and finite; got 0"):
            save_bvh(tmp_path / "a.bvh", make_arrays(), units_per_metre=0)
        with pytest.raises(FileNotFoundError):
            save_bvh(tmp_path / "none" / "a.bvh", make_arrays())
        assert not list(tmp_path.iterdir())


class TestOtherPrograms:
    def test_channels_in_any_order(self, tmp_path):
        arrays = load_bvh(write(tmp_path / "a.bvh", HAND_MADE), units_per_metre=1)
        assert arrays.skeleton.names == ("Hips", "Upper Arm", "Knee", "Toe")
        assert arrays.skeleton.parents == (-1, 0, 0, 2)
        assert arrays.rate_hz == 120
        expected_rest = torch.tensor([[0, 0.5, 0], [1, 0.5, 0], [0, -0.5, 0], [0, -1.5, 0]])
        assert torch.equal(arrays.skeleton.rest_joints, expected_rest)
        found = rotations(arrays)[1].numpy()
        np.testing.assert_allclose(found[0], turn("Y", 10) @ turn("X", 20) @ turn("Z", 30), atol=1e-6)
        np.testing.assert_allclose(found[1], turn("X", 40) @ turn("Y", 50) @ turn("Z", 60), atol=1e-6)
        np.testing.assert_allclose(found[2], turn("X", 70), atol=1e-6)
        np.testing.assert_allclose(found[3], np.eye(3), atol=1e-6)
        # Root channels replace the offset. Turned by 90 degrees about Z, the arm that lay along X points up.
        np.testing.assert_allclose(joints(arrays)[0, :2], [[10, 20, 30], [10, 21, 30]], atol=1e-5)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace("\n", "\r"),
            lambda text: text.replace("    ", "\t").replace(" ", "\t"),
            lambda text: "\ufeff" + text,
            lambda text: text.replace("\n", "\n\n") + "\n\n",
            lambda text: text.rstrip("\n"),
            lambda text: re.sub(r"\n\s*{", " {", text),
            lambda text: text.replace("rotation", "ROTATION").replace("position", "Position"),
            lambda text: text.replace("20  40", "2e1  +40."),
        ],
        ids=["dos", "mac", "tabs", "bom", "blank lines", "no last newline", "braces", "case", "numbers"],
    )
    def test_spelling(self, tmp_path, change):
        text = change(HAND_MADE)
        assert text != HAND_MADE
        plain = load_bvh(write(tmp_path / "a.bvh", HAND_MADE))
        other = load_bvh(write(tmp_path / "b.bvh", text))
        assert torch.equal(plain.local_axis_angle, other.local_axis_angle)
        assert torch.equal(plain.translation, other.translation)
        assert plain.skeleton == other.skeleton

    @pytest.mark.parametrize(
        ("text", "rate_hz"),
        [
            ("0.033333", 30),
            ("0.0333", 30),
            (".033", 30),
            ("0.016667", 60),
            ("0.016666", 60),
            ("0.0333667", 1 / 0.0333667),
            ("0.04", 25),
            ("1", 1),
            ("2", 0.5),
            ("4.0e-2", 25),
        ],
    )
    def test_rounded_frame_times(self, tmp_path, text, rate_hz):
        arrays = load_bvh(write(tmp_path / "a.bvh", HAND_MADE.replace("0.008333", text)))
        assert arrays.rate_hz == pytest.approx(rate_hz, rel=1e-12)

    def test_joints_with_positions_that_hold_still(self, tmp_path):
        """Such channels replace the offset; all zero, they are taken as added to it."""
        text = HAND_MADE.replace("CHANNELS 1 Xrotation", "CHANNELS 4 Xposition Yposition Zposition Xrotation")
        text = text.replace("0 0 0  0\n", "0 0 0  {0}  0\n").replace("60  70\n", "60  {0}  70\n")
        replaced = load_bvh(write(tmp_path / "a.bvh", text.replace("{0}", "0 -2 0")), units_per_metre=1)
        assert replaced.skeleton.rest_joints[2].tolist() == [0, -1.5, 0]
        added = load_bvh(write(tmp_path / "b.bvh", text.replace("{0}", "0 0 0")), units_per_metre=1)
        assert added.skeleton.rest_joints[2].tolist() == [0, -0.5, 0]
        moving = text.replace("{0}", "0 -2 0", 1).replace("{0}", "0 -3 0")
        with pytest.raises(MotionFileError, match=r"joint 'Knee': expected a fixed distance .* along Y by 1 units"):
            load_bvh(write(tmp_path / "c.bvh", moving))

    def test_a_root_without_position_stays_at_its_offset(self, tmp_path):
        text = re.sub(r"CHANNELS 6.*", "CHANNELS 0", HAND_MADE)
        text = text.replace("0 30 0 10 90 20", "").replace("10 30 20 10 30 20", "")
        arrays = load_bvh(write(tmp_path / "a.bvh", text))
        np.testing.assert_allclose(joints(arrays)[:, 0], [[0, 0.5, 0]] * 2)

    @pytest.mark.skipif(not BEAT_HEADER.exists(), reason="the BEAT skeleton is not here")
    def test_a_file_of_the_beat_data_set(self, tmp_path):
        text = re.sub(r"Frames: \d+", "Frames: 1", BEAT_HEADER.read_text())
        arrays = load_bvh(write(tmp_path / "a.bvh", text))
        assert arrays.skeleton.num_joints == 75
        assert arrays.rate_hz == 120
        assert 1.0 < np.ptp(arrays.skeleton.rest_joints.numpy(), axis=0).max() < 2.5  # centimetres, told by the size


class TestHostile:
    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("HIERARCHY", "HIERARCH", "line 1: expected HIERARCHY; got 'HIERARCH'"),
            ("ROOT Hips", "JOINT Hips", "line 2: expected ROOT; got 'JOINT'"),
            ("ROOT Hips\n", "ROOT\n", "line 3: expected the name of a joint"),
            ("OFFSET 0 0.5 0", "OFFSET 0 x 0", "line 4: expected a finite number; got 'x'"),
            ("OFFSET 0 0.5 0", "OFFSET 0 nan 0", "line 4: expected a finite number; got 'nan'"),
            ("OFFSET 0 0.5 0", "OFFSET 0 0.5", "line 5: expected a finite number; got 'CHANNELS'"),
            ("    OFFSET 0 0.5 0\n", "", "line 5: expected the OFFSET of joint 'Hips'; got 'JOINT'"),
            ("CHANNELS 6", "CHANNELS 7", "line 5: expected 0 to 6 channels; got '7'"),
            ("CHANNELS 6", "CHANNELS 99999999999", "line 5: expected 0 to 6 channels"),
            ("CHANNELS 3", "CHANNELS 4", "line 10: expected channels such as Xposition or Zrotation; got 'End'"),
            ("CHANNELS 3 X", "CHANNELS 3 W", "line 9: expected channels such as .*; got 'Wrotation'"),
            ("3 Xrotation Y", "3 Xrotation X", "line 9: expected each channel once"),
            ("Knee", "Upper Arm", "expected joint names that differ"),
            ("End Site", "Site", r"line 10: expected JOINT, End Site or }; got 'SITE'"),
            ("    JOINT Knee\n    {\n", "    JOINT Knee\n", "line 16: expected {; got 'OFFSET'"),
            ("}\nMOTION", "MOTION", "line 29: expected JOINT, End Site or }; got 'MOTION'"),
            ("Frames: 2", "Frames: 0", "line 31: expected a positive number of frames; got '0'"),
            ("Frames: 2", "Frames: -2", "line 31: expected a positive number of frames"),
            ("Frames: 2", "Frames: two", "line 31: expected a positive number of frames"),
            ("Frames: 2", "Frames: 1000000000000", "expected at most 300000000 rotations"),
            ("Frames: 2", "Frames: 3", "line 34: expected 3 frames, as declared; the file ends after 2"),
            ("Frames: 2", "Frames: 1", "line 34: expected the file to end after the declared 1 frames"),
            ("0.008333", "0", "line 32: expected a positive frame time; got '0'"),
            ("0.008333", "-1", "line 32: expected a positive frame time"),
            ("0.008333", "inf", "line 32: expected a finite number"),
            ("0.008333", "1e-320", "line 32: expected a positive frame time"),
            ("40 50 60  70", "40 50 60", "line 34: expected 10 numbers, one per channel; got 9"),
            ("40 50 60  70", "40 50 60 70 80", "line 34: expected 10 numbers, one per channel; got 11"),
            ("40 50 60", "40 5O 60", "line 34: expected a finite number; got '5O'"),
            ("40 50 60", "40 nan 60", "line 34: expected a finite number; got 'nan'"),
            ("40 50 60", "40 0x5 60", "line 34: expected a finite number; got '0x5'"),
            ("40 50 60", "40 1_0 60", "line 34: expected plain decimal numbers"),
            ("OFFSET 0 0.5 0", "OFFSET 0 1e300 0", "expected lengths up to 1e\\+06 metres"),
        ],
    )
    def test_the_line_is_named(self, tmp_path, old, new, message):
        assert old in HAND_MADE
        path = write(tmp_path / "bad.bvh", HAND_MADE.replace(old, new, 1))
        with pytest.raises(MotionFileError, match=message) as caught:
            load_bvh(path)
        assert str(caught.value).startswith(f"{path}: ")

    @settings(deadline=None, max_examples=60)
    @given(where=st.integers(0, len(HAND_MADE) - 5))
    def test_a_file_cut_short_is_never_a_motion(self, tmp_path_factory, where):
        path = write(tmp_path_factory.getbasetemp() / "cut.bvh", HAND_MADE[:where])
        with pytest.raises(MotionFileError, match=r"cut\.bvh: line \d+: "):
            load_bvh(path)

    @settings(deadline=None, max_examples=150)
    @given(data=st.data())
    def test_changed_bytes_give_our_error_or_a_sound_motion(self, tmp_path_factory, data):
        content = bytearray(HAND_MADE.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "fuzz.bvh"
        path.write_bytes(content)
        try:
            arrays = load_bvh(path)
        except MotionFileError:
            return
        assert arrays.local_axis_angle.isfinite().all()
        assert arrays.translation.isfinite().all()

    @pytest.mark.parametrize("content", [b"", b"\n\n", bytes(3000), b"PK\x03\x04", b"\xff\xfe" * 100])
    def test_no_text_at_all(self, tmp_path, content):
        path = tmp_path / "bad.bvh"
        path.write_bytes(content)
        with pytest.raises(MotionFileError, match=r"bad\.bvh: line 1: |bad\.bvh: line 2: "):
            load_bvh(path)

    def test_a_deep_tree_is_no_trouble(self, tmp_path):
        """Deeper than Python's recursion limit, to and fro."""
        names = tuple(f"joint{i}" for i in range(1500))
        rest = torch.zeros(1500, 3)
        rest[:, 1] = torch.arange(1500) / 1000
        chain = Skeleton(names=names, parents=tuple(range(-1, 1499)), rest_joints=rest)
        save_bvh(tmp_path / "a.bvh", make_arrays(1, chain))
        assert load_bvh(tmp_path / "a.bvh").skeleton.names == names

    def test_a_unit_must_be_positive(self, tmp_path):
        with pytest.raises(ValueError, match="`units_per_metre` must be positive"):
            load_bvh(write(tmp_path / "a.bvh", HAND_MADE), units_per_metre=-1)
