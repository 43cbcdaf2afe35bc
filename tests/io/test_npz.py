import io
import resource
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.errors import MotionFileError
from cospeech.io import MotionArrays, load_npz, save_npz
from cospeech.skeleton import SMPL22, SMPLX, Skeleton


def make_arrays(num_frames=4, skeleton=SMPLX, **changes) -> MotionArrays:
    generator = torch.Generator().manual_seed(0)
    arrays = MotionArrays(
        local_axis_angle=torch.randn(num_frames, skeleton.num_joints, 3, generator=generator),
        translation=torch.randn(num_frames, 3, generator=generator, dtype=torch.float64),
        expressions=torch.randn(num_frames, 2, generator=generator, dtype=torch.float64),
        betas=torch.randn(3, generator=generator),
        rate_hz=30.0,
        skeleton=skeleton,
    )
    return arrays._replace(**changes)


def members(num_frames=4, **changes) -> dict:
    content = {
        "poses": np.full((num_frames, 165), 0.25, np.float32),
        "trans": np.zeros((num_frames, 3)),
        "mocap_frame_rate": np.array(30),
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def write(path, **changes):
    np.savez(path, **members(**changes))
    return path


def npy_bytes(header: str, body: bytes = b"", version=(1, 0)) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + body


def write_raw(path, key: str, content: bytes, compression=zipfile.ZIP_STORED):
    """An archive in which one member is replaced by raw bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, value in members().items():
            stream = io.BytesIO()
            np.save(stream, value)
            archive.writestr(f"{name}.npy", content if name == key else stream.getvalue())
    return path


class TestSave:
    @pytest.mark.parametrize("skeleton", [SMPLX, SMPL22])
    @pytest.mark.parametrize("absent", [{}, {"expressions": None}, {"betas": None}])
    def test_load_after_save(self, tmp_path, skeleton, absent):
        arrays = make_arrays(skeleton=skeleton, gender="female", model="smplx", **absent)
        save_npz(tmp_path / "a.npz", arrays)
        loaded = load_npz(tmp_path / "a.npz")
        for name in ("local_axis_angle", "translation", "expressions", "betas"):
            ours, theirs = getattr(arrays, name), getattr(loaded, name)
            if ours is None:
                assert theirs is None
            else:
                assert ours.dtype == theirs.dtype
                assert torch.equal(ours, theirs)
        assert arrays[4:] == loaded[4:]

    def test_layout_is_that_of_beat2(self, tmp_path):
        save_npz(tmp_path / "a.npz", make_arrays())
        with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
            assert list(file) == ["betas", "poses", "expressions", "trans", "model", "gender", "mocap_frame_rate"]
            assert file["poses"].shape == (4, 165)
            assert file["poses"].dtype == np.float32
            assert file["mocap_frame_rate"].dtype == np.int32
            assert file["mocap_frame_rate"].shape == file["model"].shape == ()
            assert str(file["gender"]) == "neutral"

    @pytest.mark.parametrize("rate_hz", [29.97, 1e10, 0.1])
    def test_a_rate_that_is_no_int32(self, tmp_path, rate_hz):
        save_npz(tmp_path / "a.npz", make_arrays(rate_hz=rate_hz))
        assert load_npz(tmp_path / "a.npz").rate_hz == rate_hz

    def test_slices_and_gradients(self, tmp_path):
        arrays = make_arrays(9)
        poses = arrays.local_axis_angle[2:6].requires_grad_()
        save_npz(tmp_path / "a.npz", make_arrays(local_axis_angle=poses))
        assert torch.equal(load_npz(tmp_path / "a.npz").local_axis_angle, poses)

    def test_equal_motions_make_equal_files(self, tmp_path):
        save_npz(tmp_path / "a.npz", make_arrays())
        save_npz(tmp_path / "b.npz", make_arrays())
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

    def test_other_skeletons_are_refused(self, tmp_path):
        point = Skeleton(names=("root",), parents=(-1,), rest_joints=torch.zeros(1, 3))
        with pytest.raises(ValueError, match=r"this skeleton has 1 joints of its own. Save it as \.bvh"):
            save_npz(tmp_path / "a.npz", make_arrays(skeleton=point))

    def test_nan_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="`expressions` must be finite to be saved"):
            save_npz(tmp_path / "a.npz", make_arrays(expressions=torch.full((4, 2), torch.nan)))
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_leaves_the_old_file(self, tmp_path):
        save_npz(tmp_path / "a.npz", make_arrays(1))
        old = (tmp_path / "a.npz").read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        try:
            with pytest.raises(OSError, match=r"a\.npz"):
                save_npz(tmp_path / "a.npz", make_arrays(500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
        assert (tmp_path / "a.npz").read_bytes() == old


class TestVariants:
    def test_amass_spelling_and_bytes(self, tmp_path):
        path = write(
            tmp_path / "a.npz",
            mocap_frame_rate=None,
            mocap_framerate=np.array(120.0),
            gender=np.array(b"male"),
            dmpls=np.zeros((4, 8)),
            betas=np.zeros(16),
        )
        arrays = load_npz(path)
        assert arrays.rate_hz == 120
        assert arrays.gender == "male"
        assert arrays.expressions is None
        assert arrays.betas.shape == (16,)

    @pytest.mark.parametrize("rate", [np.array([60]), np.float32(60), np.array([[60.0]]), np.uint8(60)])
    def test_any_one_number_is_a_rate(self, tmp_path, rate):
        assert load_npz(write(tmp_path / "a.npz", mocap_frame_rate=rate)).rate_hz == 60

    def test_strange_but_sound_arrays(self, tmp_path):
        poses = np.arange(4 * 66, dtype=">f8").reshape(4, 66) / 100
        arrays = load_npz(write(tmp_path / "a.npz", poses=np.asfortranarray(poses)))
        assert arrays.skeleton == SMPL22
        assert torch.equal(arrays.local_axis_angle, torch.from_numpy(poses.astype("<f8")).reshape(4, 22, 3))

    def test_compressed(self, tmp_path):
        np.savez_compressed(tmp_path / "a.npz", **members())
        assert load_npz(tmp_path / "a.npz").local_axis_angle.eq(0.25).all()

    def test_objects_in_keys_we_do_not_read(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, **members(), labels=np.array([{"a": 1}], dtype=object))
        assert load_npz(path).translation.shape == (4, 3)


class TestHostile:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"poses": None}, "`poses` is missing; the file holds"),
            ({"trans": None}, "`trans` is missing"),
            ({"mocap_frame_rate": None}, "a frame rate is needed, as `mocap_frame_rate`"),
            ({"poses": np.zeros((4, 156), np.float32)}, r"\(T, 165\) or \(T, 66\); got \(4, 156\)"),
            ({"poses": np.zeros((4, 55, 3), np.float32)}, r"got \(4, 55, 3\)"),
            ({"poses": np.zeros((0, 165), np.float32)}, r"got \(0, 165\)"),
            ({"poses": np.zeros(165, np.float32)}, r"got \(165,\)"),
            ({"poses": np.zeros((4, 165), np.float16)}, "float32 or float64; got float16"),
            ({"poses": np.zeros((4, 165), int)}, "float32 or float64; got int64"),
            ({"poses": np.zeros((4, 165), complex)}, "float32 or float64; got complex128"),
            ({"poses": np.full((4, 165), np.nan)}, "`poses` must be finite"),
            ({"trans": np.full((4, 3), np.inf)}, "`trans` must be finite"),
            ({"trans": np.zeros((3, 3))}, r"`trans` must have shape \(4, 3\); got \(3, 3\)"),
            ({"expressions": np.zeros((5, 2))}, r"`expressions` must have shape \(4, E\); got \(5, 2\)"),
            ({"betas": np.zeros((1, 10))}, r"`betas` must have shape \(B,\); got \(1, 10\)"),
            ({"mocap_frame_rate": 0}, "must be positive and finite; got 0.0"),
            ({"mocap_frame_rate": np.nan}, "must be positive and finite; got nan"),
            ({"mocap_frame_rate": "30"}, "must be one number"),
            ({"mocap_frame_rate": np.array([30, 60])}, "must be one number"),
            ({"gender": np.zeros(3)}, "`gender` must be one short text"),
            ({"model": np.array("x" * 10_000)}, "`model` must be one short text"),
            ({"gender": np.array(None, dtype=object)}, "pickled objects, which may run code"),
            ({"poses": np.array([[0.0], None], dtype=object)}, "pickled objects, which may run code"),
        ],
    )
    def test_wrong_content_is_named(self, tmp_path, changes, message):
        path = write(tmp_path / "bad.npz", **changes)
        with pytest.raises(MotionFileError, match=message) as caught:
            load_npz(path)
        assert str(caught.value).startswith(str(path))

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 165)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000000000000, 165)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 165)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4.0, 165)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 165)}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (4, 165)}",
            "{'descr': 'no such type', 'fortran_order': False, 'shape': (4, 165)}",
            "__import__('os').system('false')",
            "(" * 5000,
        ],
    )
    def test_headers_that_lie_are_refused_before_anything_is_allocated(self, tmp_path, header):
        path = write_raw(tmp_path / "bad.npz", "poses", npy_bytes(header, bytes(4 * 165 * 4)))
        with pytest.raises(MotionFileError, match=r"bad\.npz"):
            load_npz(path)

    def test_a_bomb_is_refused(self, tmp_path):
        """A few kilobytes that claim, and would inflate to, more than the limit."""
        header = npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000, 165)}")
        path = write_raw(tmp_path / "bad.npz", "poses", header + bytes(1000), zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        where = data.rindex(b"PK\x01\x02", 0, data.rindex(b"poses.npy"))
        data[where + 24 : where + 28] = struct.pack("<I", 2**32 - 2)  # the declared size in the directory
        path.write_bytes(data)
        with pytest.raises(MotionFileError, match=r"must be 6600000000 bytes, at most 4294967296"):
            load_npz(path)

    @pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x93NUMPY\x01\x00", bytes(1000)])
    def test_no_archive(self, tmp_path, content):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(MotionFileError, match=r"expected a whole \.npz archive"):
            load_npz(path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x03\x00\x00\x00", b"\x93NUMPY\x01\x00\xff\xff{"])
    def test_no_array_inside(self, tmp_path, content):
        with pytest.raises(MotionFileError, match=r"bad\.npz"):
            load_npz(write_raw(tmp_path / "bad.npz", "trans", content))

    def test_damage_is_found_by_the_checksum(self, tmp_path):
        path = write(tmp_path / "bad.npz")
        data = path.read_bytes()
        at = data.index(np.float32(0.25).tobytes())
        path.write_bytes(data[:at] + b"\x01" + data[at + 1 :])
        with pytest.raises(MotionFileError, match="CRC"):
            load_npz(path)

    @settings(deadline=None, max_examples=150)
    @given(data=st.data())
    def test_cut_or_changed_bytes_give_our_error_or_a_sound_motion(self, tmp_path_factory, data):
        stream = io.BytesIO()
        np.savez(stream, **members(num_frames=1))
        content = bytearray(stream.getvalue())
        content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        for _ in range(data.draw(st.integers(0, 4))):
            if content:
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "fuzz.npz"
        path.write_bytes(content)
        try:
            arrays = load_npz(path)
        except MotionFileError:
            return
        assert arrays.local_axis_angle.shape == (1, 55, 3)
        assert arrays.local_axis_angle.isfinite().all()

    def test_the_system_says_what_cannot_be_opened(self, tmp_path):
        with pytest.raises(IsADirectoryError):
            load_npz(tmp_path)
        with pytest.raises(FileNotFoundError):
            save_npz(tmp_path / "none" / "a.npz", make_arrays())
