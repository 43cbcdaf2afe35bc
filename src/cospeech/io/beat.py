"""What BEAT's tools read and write: a BVH on the capture skeleton, and facial weights as JSON.

``Motion.save`` writes BVH for Blender and game engines. This page writes what programs made for BEAT expect: angles in
the order X, Y, Z, centimetres, six numbers for the hips and three for every other joint. It reads the same, and what
the papers' programs have made of it, as the numbers that their metrics are taken of.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.errors import MotionFileError
from cospeech.io.atomic import atomic_path
from cospeech.io.bvh_text import BvhError, BvhJoint, BvhReader
from cospeech.skeleton import (
    BEAT,
    BEAT_ARKIT_NAMES,
    BEAT_BASE_DEGREES,
    BEAT_BASE_POSITION,
    BEAT_GESTURE_JOINTS,
)

__all__ = ["BeatAngles", "load_arkit_json", "load_beat_bvh", "save_arkit_json", "save_beat_bvh"]

_PUBLISHED_FRAME_TIME = "0.008333"
_PUBLISHED_RATE_HZ = 15.0
_MAX_FRAMES = 10_000_000  # a day at 120 Hz; what the text itself holds is the bound in practice


class BeatAngles(NamedTuple):
    """The gesture joints of a BEAT file.

    Attributes:
        euler_degrees: ``R = R_x R_y R_z`` of the 47 gesture joints, float64 ``(T, 141)``.
        rate_hz: Frames per second.
        first_frame: Which frame of the clip the first row is: 1 where the published writer left out frame 0.
    """

    euler_degrees: Tensor
    rate_hz: float
    first_frame: int = 0


def load_beat_bvh(path: str | os.PathLike[str]) -> BeatAngles:
    """The angles of a BEAT recording, of a file by ``save_beat_bvh``, by a published program, or of a cache.

    A file that declares one frame more than it holds, at 120 frames per second, is one of the published programs': it
    is 15 frames per second and lacks frame 0. A file without header is a cache: rows of 141 angles at 15 frames per
    second (``bvh_rot``).

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be opened.
        MotionFileError: If it is none of these, or holds NaN; the message names file and line.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        try:
            first = stream.readline()
            stream.seek(0)
            if first.strip().upper() != "HIERARCHY":
                rows = _number_rows(stream.readlines(), 3 * len(BEAT_GESTURE_JOINTS), first_line=1)
                return BeatAngles(torch.from_numpy(rows), _PUBLISHED_RATE_HZ)
            reader = BvhReader(stream)
            joints = reader.read_hierarchy()
            declared, rate_hz = reader.read_motion_header()
            channels = [(joint.name, channel) for joint in joints for channel in joint.channels]
            rows = _number_rows(stream.readlines(), len(channels), first_line=reader.line + 1)
        except BvhError as error:
            raise MotionFileError(f"{os.fspath(path)}: {error}") from None
    missing = declared - len(rows)
    if missing not in (0, 1):
        raise MotionFileError(f"{os.fspath(path)}: expected {declared} frames, as declared; got {len(rows)}.")
    wanted = [(BEAT.names[joint], f"{axis}rotation") for joint in BEAT_GESTURE_JOINTS for axis in "XYZ"]
    lacking = next((name for name in wanted if name not in channels), None)
    if lacking is not None:
        raise MotionFileError(f"{os.fspath(path)}: expected the joints of BEAT; {lacking[0]} has no {lacking[1]}.")
    _check_order(path, joints)
    columns = torch.from_numpy(rows)[:, [channels.index(name) for name in wanted]]
    return BeatAngles(columns, _PUBLISHED_RATE_HZ if missing and rate_hz == 120 else rate_hz, missing)


def load_arkit_json(path: str | os.PathLike[str]) -> tuple[Tensor, float]:
    """Facial weights ``(T, 51)`` in the order of ``BEAT_ARKIT_NAMES``, float64, and their frames per second.

    Names that BEAT does not use (``tongueOut``) are left out; the rate is that of the frames' times.

    Args:
        path: The file.

    Raises:
        OSError: If the file cannot be opened.
        MotionFileError: If it holds something else, or numbers that are not finite.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
        names = [str(name) for name in content["names"]]
        weights = np.array([frame["weights"] for frame in content["frames"]], dtype=np.float64)
        times = np.array([frame["time"] for frame in content["frames"]], dtype=np.float64)
        columns = [names.index(name) for name in BEAT_ARKIT_NAMES]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise MotionFileError(f"{os.fspath(path)}: expected facial weights as BEAT has them; {error!r}.") from None
    if weights.ndim != 2 or weights.shape[1] != len(names) or len(weights) < 2:
        raise MotionFileError(f"{os.fspath(path)}: expected 2 frames or more of {len(names)} weights each.")
    if not (np.isfinite(weights).all() and np.isfinite(times).all() and times[-1] > times[0]):
        raise MotionFileError(f"{os.fspath(path)}: expected finite weights at rising times; got NaN or infinity.")
    return torch.from_numpy(weights[:, columns].copy()), round((len(times) - 1) / float(times[-1] - times[0]), 2)


def save_beat_bvh(
    path: str | os.PathLike[str], euler_degrees: Tensor, *, rate_hz: float = 15.0, strict_upstream: bool = False
) -> None:
    """Write the gesture joints' angles; hips and legs stay in the base pose. The file appears whole or not at all.

    Args:
        path: The file.
        euler_degrees: ``R = R_x R_y R_z`` of the 47 gesture joints, ``(T, 141)``.
        rate_hz: Frames per second.
        strict_upstream: Write what the published program writes: no first frame, though it is counted; 120 frames per
            second whatever the rate; the last digit of each row cut off.

    Raises:
        ValueError: If the shape does not fit, or an angle is not finite.
        OSError: If the file cannot be written.
    """
    check_shape("euler_degrees", euler_degrees, f"T {3 * len(BEAT_GESTURE_JOINTS)}")
    if not bool(euler_degrees.isfinite().all()):
        raise ValueError("`euler_degrees` must be finite; got NaN or infinity.")
    angles = torch.tensor(BEAT_BASE_DEGREES, dtype=torch.float64).repeat(len(euler_degrees), 1, 1)
    angles[:, list(BEAT_GESTURE_JOINTS)] = euler_degrees.detach().cpu().double().reshape(len(angles), -1, 3)
    position = torch.tensor(BEAT_BASE_POSITION, dtype=torch.float64).expand(len(angles), 3)
    rows = torch.cat([position, angles.flatten(1)], dim=1).tolist()
    frame_time = _PUBLISHED_FRAME_TIME if strict_upstream else repr(1 / rate_hz)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(_hierarchy_text())
        stream.write(f"MOTION\nFrames: {len(rows)}\nFrame Time: {frame_time}\n")
        for row in rows[1:] if strict_upstream else rows:
            text = " ".join(f"{number: .6e}" for number in row)
            stream.write((text[:-1] if strict_upstream else text) + "\n")


def save_arkit_json(path: str | os.PathLike[str], weights: Tensor, *, rate_hz: float = 15.0) -> None:
    """Write facial weights; the file appears whole or not at all.

    Args:
        path: The file.
        weights: One row a frame, ``(T, 51)``, in the order of ``BEAT_ARKIT_NAMES``.
        rate_hz: Frames per second.

    Raises:
        ValueError: If the shape does not fit, or a weight is not finite.
        OSError: If the file cannot be written.
    """
    check_shape("weights", weights, f"T {len(BEAT_ARKIT_NAMES)}")
    if not bool(weights.isfinite().all()):
        raise ValueError("`weights` must be finite; got NaN or infinity.")
    frames = [
        {"weights": row, "time": i / rate_hz, "rotation": []} for i, row in enumerate(weights.detach().cpu().tolist())
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"names": list(BEAT_ARKIT_NAMES), "frames": frames}), encoding="utf-8")


def _hierarchy_text() -> str:
    rest = BEAT.rest_joints.double() * 100
    children: list[list[int]] = [[] for _ in BEAT.names]
    for joint, parent in enumerate(BEAT.parents[1:], start=1):
        children[parent].append(joint)
    lines = ["HIERARCHY"]

    def write(joint: int, depth: int) -> None:
        tabs = "\t" * depth
        bone = rest[joint] - (rest[BEAT.parents[joint]] if joint else 0)
        offset = "OFFSET " + " ".join(f"{float(x) + 0.0:.6f}" for x in bone.round(decimals=6))
        positions = "6 Xposition Yposition Zposition" if joint == 0 else "3"
        lines.append(f"{tabs}{'JOINT' if joint else 'ROOT'} {BEAT.names[joint]}")
        lines.extend([f"{tabs}{{", f"{tabs}\t{offset}", f"{tabs}\tCHANNELS {positions} Xrotation Yrotation Zrotation"])
        for child in children[joint]:
            write(child, depth + 1)
        if not children[joint]:
            lines.extend(f"{tabs}\t{text}" for text in ("End Site", "{", f"\t{offset}", "}"))
        lines.append(f"{tabs}}}")

    write(0, 0)
    return "\n".join(lines) + "\n"


def _number_rows(lines: list[str], num_columns: int, *, first_line: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows of plain numbers; the line at fault is named."""
    lines = [line for line in lines if not line.isspace()]
    if not 0 < len(lines) <= _MAX_FRAMES:
        raise BvhError(f"line {first_line}: expected 1 to {_MAX_FRAMES} frames; got {len(lines)}.")
    try:
        rows = np.loadtxt(lines, comments=None, ndmin=2)
    except ValueError as error:
        raise BvhError(f"line {first_line} on: expected {num_columns} plain numbers each; {error}.") from None
    if rows.shape[1] != num_columns:
        raise BvhError(f"line {first_line}: expected {num_columns} numbers; got {rows.shape[1]}.")
    if not np.isfinite(rows).all():
        bad = first_line + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise BvhError(f"line {bad}: expected finite numbers; got NaN or infinity.")
    return rows


def _check_order(path: str | os.PathLike[str], joints: list[BvhJoint]) -> None:
    """The three angles mean ``R_x R_y R_z`` only in that order."""
    gesture = {BEAT.names[joint] for joint in BEAT_GESTURE_JOINTS}
    for joint in joints:
        turns = "".join(channel[0] for channel in joint.channels if channel.endswith("rotation"))
        if joint.name in gesture and turns != "XYZ":
            raise MotionFileError(f"{os.fspath(path)}: expected rotations X, Y, Z of {joint.name}; got {turns or '-'}.")
