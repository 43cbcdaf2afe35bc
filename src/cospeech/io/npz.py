"""Motion as ``.npz`` in the BEAT2 form, which AMASS shares: SMPL-X axis-angles and a translation.

| Key | Shape | Content |
| --- | --- | --- |
| ``betas`` | (B,) | body shape, optional |
| ``poses`` | (T, 165) or (T, 66) | local axis-angles, radians: SMPL-X (55 joints) or its body alone (22 joints) |
| ``expressions`` | (T, E) | optional |
| ``trans`` | (T, 3) | metres |
| ``model``, ``gender`` | () | text, optional |
| ``mocap_frame_rate`` | () | frames per second; AMASS also spells it ``mocap_framerate`` |

Files come from strangers: nothing is unpickled, and what an array will cost in memory is worked out from its header
and held against the file's size before anything is allocated.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cospeech.errors import MotionFileError
from cospeech.io.arrays import MotionArrays, check_finite
from cospeech.io.atomic import atomic_path
from cospeech.skeleton import SMPL22, SMPLX, Skeleton

__all__ = ["load_npz", "save_npz"]

MAX_ARRAY_BYTES = 4 << 30  # a day at 30 Hz is 1.7 GB of poses
MAX_DEFLATE_RATIO = 1040  # deflate cannot shrink further than 1032:1, so a member that claims to is a lie
MAX_TEXT_BYTES = 1024
CHUNK_BYTES = 1 << 20
RATE_KEYS = ("mocap_frame_rate", "mocap_framerate")


def load_npz(path: str | os.PathLike[str]) -> MotionArrays:
    """The motion in an ``.npz`` file; arrays keep the precision (float32 or float64) that they have in the file.

    Keys other than those in the table above are left unread. AMASS files are read as they are, and those stand Z up:
    turn the root and the translation by -90 degrees about X where that matters.

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be opened.
        MotionFileError: If it is not what it should be: no zip archive, cut short, pickled objects, wrong or
            disagreeing shapes, NaN or infinity, a frame rate that is not positive. The message names the file, what
            was expected and what came.
    """
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                return _read(_Members(archive, os.fspath(path)))
        except MotionFileError:
            raise
        except Exception as error:  # broken bytes surface as a dozen types from zipfile, zlib, ast and NumPy
            reason = str(error) or type(error).__name__
            raise MotionFileError(f"{os.fspath(path)}: expected a whole .npz archive; {reason}.") from error


def save_npz(path: str | os.PathLike[str], arrays: MotionArrays) -> None:
    """Write the motion as ``.npz``, the same bytes for the same motion; the file appears whole or not at all.

    Absent ``expressions`` and ``betas`` are left out. A whole frame rate is stored as int32, as BEAT2 does, any other
    as float64. The skeleton's rest joints are not part of the format.

    Args:
        path: The file.
        arrays: What to write. The skeleton must have the joints of ``SMPLX`` or ``SMPL22``.

    Raises:
        ValueError: If the skeleton is another one, or the motion is not finite.
        OSError: If the file cannot be written.
    """
    if arrays.skeleton.names not in (SMPLX.names, SMPL22.names):
        raise ValueError(
            "An .npz holds the 55 joints of SMPL-X or the 22 of its body; this skeleton has "
            f"{len(arrays.skeleton.names)} joints of its own. Save it as .bvh."
        )
    check_finite(arrays)
    rate_hz = arrays.rate_hz
    whole = rate_hz.is_integer() and rate_hz < 2**31
    members = {
        "betas": _to_numpy(arrays.betas),
        "poses": _to_numpy(arrays.local_axis_angle.flatten(1)),
        "expressions": _to_numpy(arrays.expressions),
        "trans": _to_numpy(arrays.translation),
        "model": np.array(arrays.model),
        "gender": np.array(arrays.gender),
        "mocap_frame_rate": np.array(rate_hz, dtype=np.int32 if whole else np.float64),
    }
    # Not np.savez: before NumPy 2.1 it cannot be told to refuse pickles, and it stamps the time into the file.
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for key, value in members.items():
            if value is not None:
                with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, value, allow_pickle=False)


def _to_numpy(x: Tensor | None) -> Any:
    return None if x is None else x.detach().cpu().numpy()


def _read(members: _Members) -> MotionArrays:
    poses = members.frames("poses", "(T, 165) or (T, 66)", lambda shape: shape[1] in (165, 66))
    num_frames = poses.shape[0]
    translation = members.frames("trans", f"({num_frames}, 3)", lambda shape: shape == (num_frames, 3))
    expressions = None
    if "expressions" in members:
        expressions = members.frames("expressions", f"({num_frames}, E)", lambda shape: shape[0] == num_frames)
    skeleton: Skeleton = SMPLX if poses.shape[1] == 165 else SMPL22
    return MotionArrays(
        local_axis_angle=poses.reshape(num_frames, -1, 3),
        translation=translation,
        expressions=expressions,
        betas=members.floats("betas", "(B,)", lambda shape: len(shape) == 1) if "betas" in members else None,
        rate_hz=members.rate_hz(),
        skeleton=skeleton,
        gender=members.text("gender", default="neutral"),
        model=members.text("model", default="smplx2020"),
    )


class _Members:
    """The arrays of one archive, checked from their headers before they are read."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        self.archive = archive
        self.name = name
        self.keys = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def fail(self, message: str) -> MotionFileError:
        return MotionFileError(f"{self.name}: {message}")

    def frames(self, key: str, expected: str, fits: Callable[[tuple[int, ...]], bool]) -> Tensor:
        """A two-dimensional array with at least one row."""
        return self.floats(key, expected, lambda shape: len(shape) == 2 and shape[0] > 0 and fits(shape))

    def floats(self, key: str, expected: str, fits: Callable[[tuple[int, ...]], bool]) -> Tensor:
        """A finite float32 or float64 array."""

        def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            if not fits(shape):
                raise self.fail(f"`{key}` must have shape {expected}; got {shape}.")
            if dtype.kind != "f" or dtype.itemsize not in (4, 8):
                raise self.fail(f"`{key}` must hold float32 or float64; got {dtype}.")

        array = self.array(key, check)
        if not np.isfinite(array).all():
            raise self.fail(f"`{key}` must be finite; it holds NaN or infinity.")
        return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))

    def rate_hz(self) -> float:
        key = next((key for key in RATE_KEYS if key in self), None)
        if key is None:
            raise self.fail(f"a frame rate is needed, as `{RATE_KEYS[0]}`; the file holds {sorted(self.keys)[:20]}.")

        def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            if math.prod(shape) != 1 or dtype.kind not in "iuf":
                raise self.fail(f"`{key}` must be one number; got shape {shape} of {dtype}.")

        rate_hz = float(self.array(key, check).reshape(()))
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise self.fail(f"`{key}` must be positive and finite; got {rate_hz}.")
        return rate_hz

    def text(self, key: str, default: str) -> str:
        if key not in self:
            return default

        def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            if math.prod(shape) != 1 or dtype.kind not in "US" or dtype.itemsize > MAX_TEXT_BYTES:
                raise self.fail(f"`{key}` must be one short text; got shape {shape} of {dtype}.")

        value = self.array(key, check).reshape(()).item()
        return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)

    def array(self, key: str, check: Callable[[tuple[int, ...], np.dtype[Any]], None]) -> np.ndarray[Any, Any]:
        """Read one member once ``check`` has accepted its header."""
        if key not in self.keys:
            raise self.fail(f"`{key}` is missing; the file holds {sorted(self.keys)[:20]}.")
        info = self.keys[key]
        with self.archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise self.fail(f"`{key}` must be in version 1 or 2 of the .npy format; got {version}.")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(stream)
            if dtype.hasobject:
                raise self.fail(
                    f"`{key}` must hold plain numbers or text; it holds pickled objects, which may run code."
                )
            check(shape, dtype)
            num_bytes = math.prod(shape) * dtype.itemsize
            present = info.file_size - stream.tell()
            if (
                num_bytes != present
                or num_bytes > MAX_DEFLATE_RATIO * info.compress_size
                or num_bytes > MAX_ARRAY_BYTES
            ):
                raise self.fail(
                    f"`{key}` of shape {shape} must be {num_bytes} bytes, at most {MAX_ARRAY_BYTES}; "
                    f"the file holds {present}."
                )
            buffer = bytearray()  # grows with what really comes
            while chunk := stream.read(CHUNK_BYTES):  # to the end, where zipfile compares the checksum
                buffer += chunk
            if len(buffer) != num_bytes:
                raise self.fail(f"`{key}` must hold {num_bytes} bytes; got {len(buffer)}.")
        return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")
