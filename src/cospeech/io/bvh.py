"""Motion as ``.bvh``, the text format that Blender, Maya and game engines exchange.

What we write:

- The rest pose is the skeleton's: for SMPL-X a T-pose, Y up, facing +Z, arms along X. Bones are their offsets in it.
- The root has six channels, its position in the world (not relative to its offset, which is zero, so that programs
  which add the two agree with those which do not) and its rotation; every other joint has three.
- Rotation channels are ``Zrotation Xrotation Yrotation``, degrees, ``R = R_Z R_X R_Y``. The middle angle, which loses
  its meaning at 90 degrees, is then the twist of an arm that stretches along X, which stays smaller than its swing.
  Angles run on past 180 degrees, so that a program which interpolates between frames does not spin a limb around.
- Joints without children end in a site half a bone further on; it only gives the last bone a length.
- Six decimals: 1e-8 rad and 1e-6 of a unit of length. The unit is the metre, or what ``units_per_metre`` says.

In Blender, import with forward ``-Z``, up ``Y`` and scale 1 (its defaults).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cospeech.errors import MotionFileError
from cospeech.io.arrays import MotionArrays, check_finite
from cospeech.io.atomic import atomic_path
from cospeech.io.bvh_text import BvhError, BvhJoint, BvhReader
from cospeech.rotations import axis_angle_to_matrix, euler_to_matrix, matrix_to_axis_angle, matrix_to_euler
from cospeech.skeleton import SMPL22, SMPLX, Skeleton

__all__ = ["load_bvh", "save_bvh"]

Rows: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

ORDER = "ZXY"
BLOCK_FRAMES = 512  # about a megabyte of text: enough to be fast, and memory stays flat for an hour of motion
END_SITE_BONES = 0.5
MAX_ROTATIONS = 300_000_000  # two days of SMPL-X at 30 Hz; a few bytes of text could otherwise ask for any amount
LARGEST_METRES = 10.0  # a rest pose larger than this is taken to be in centimetres
LONGEST_METRES = 1e6  # beyond it float32 has no decimals left
SAME_METRES = 1e-5  # offsets are printed to 1e-6, and their errors add up along a limb
FIXED_JOINT_TOLERANCE = 1e-3  # of the largest offset: what a joint may wander about its parent and still be fixed


def save_bvh(path: str | os.PathLike[str], arrays: MotionArrays, *, units_per_metre: float = 1.0) -> None:
    """Write rotations, root position and skeleton as ``.bvh``; the file appears whole or not at all.

    Expressions, betas, gender and model have no place in the format. Spaces in joint names become underscores.

    Args:
        path: The file.
        arrays: What to write.
        units_per_metre: 1 for metres, as Blender expects; 100 for centimetres, as most game engines do.

    Raises:
        ValueError: If the motion is not finite, or ``units_per_metre`` is not positive.
        OSError: If the file cannot be written.
    """
    if not (math.isfinite(units_per_metre) and units_per_metre > 0):
        raise ValueError(f"`units_per_metre` must be positive and finite; got {units_per_metre}.")
    check_finite(arrays)
    order = _depth_first(arrays.skeleton.parents)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(_hierarchy_text(arrays.skeleton, order, units_per_metre))
        stream.write(f"MOTION\nFrames: {len(arrays.translation)}\nFrame Time: {1 / arrays.rate_hz!r}\n")
        for rows in _channel_blocks(arrays, order, units_per_metre):
            row_format = " ".join(["%.6f"] * rows.shape[1]) + "\n"
            stream.write(row_format * len(rows) % tuple(rows.ravel().tolist()))


def load_bvh(path: str | os.PathLike[str], *, units_per_metre: float | None = None) -> MotionArrays:
    """Read a ``.bvh`` file, ours or another program's, as float32.

    Channels may come in any order. A joint other than the root may have position channels only if they hold still;
    they then replace its offset. End sites are dropped. A file with the joint names and tree of ``SMPLX`` or ``SMPL22``
    comes back in that order; the skeleton then is that constant if the offsets agree too (to 0.01 mm), else a copy with
    the file's. Any other skeleton is made from the file, joints in its order.

    Args:
        path: The file.
        units_per_metre: Unit of length in the file: 1 for metres, 100 for centimetres. BVH does not say; by default a
            rest pose that extends over more than 10 units is taken to be in centimetres, and else in metres.

    Raises:
        OSError: If the file cannot be opened.
        MotionFileError: If it is not a whole BVH file of finite numbers. The message names the file and the line.
    """
    if units_per_metre is not None and not (math.isfinite(units_per_metre) and units_per_metre > 0):
        raise ValueError(f"`units_per_metre` must be positive and finite; got {units_per_metre}.")
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        try:
            return _read(BvhReader(stream), units_per_metre)
        except BvhError as error:
            raise MotionFileError(f"{os.fspath(path)}: {error}") from None


def _depth_first(parents: tuple[int, ...]) -> list[int]:
    """Joints in the order in which a BVH file lists them."""
    children: list[list[int]] = [[] for _ in parents]
    for joint, parent in enumerate(parents[1:], start=1):
        children[parent].append(joint)
    order, waiting = [], [0]
    while waiting:
        joint = waiting.pop()
        order.append(joint)
        waiting.extend(reversed(children[joint]))
    return order


def _hierarchy_text(skeleton: Skeleton, order: list[int], units_per_metre: float) -> str:
    rest = skeleton.rest_joints.double().cpu().numpy() * units_per_metre
    rotations = " ".join(f"{axis}rotation" for axis in ORDER)
    lines, open_joints = ["HIERARCHY"], list[int]()

    def line(text: str) -> None:
        lines.append("\t" * len(open_joints) + text)

    def offset(vector: Rows) -> str:
        return "OFFSET " + " ".join(f"{x:.6f}" for x in np.round(vector, 6) + 0.0)

    for position, joint in enumerate(order):
        parent = skeleton.parents[joint]
        bone = rest[joint] - rest[parent] if parent >= 0 else np.zeros(3)
        line(f"{'JOINT' if open_joints else 'ROOT'} {'_'.join(skeleton.names[joint].split())}")
        line("{")
        open_joints.append(joint)
        line(offset(bone))
        if parent < 0:
            line(f"CHANNELS 6 Xposition Yposition Zposition {rotations}")
        else:
            line(f"CHANNELS 3 {rotations}")
        following = order[position + 1] if position + 1 < len(order) else -1
        next_parent = skeleton.parents[following] if following >= 0 else -1
        if next_parent != joint:  # a leaf: close it and what ends with it
            tip = bone * END_SITE_BONES if bone.any() else np.array([0.0, 0.05 * units_per_metre, 0.0])
            line("End Site")
            lines.extend("\t" * len(open_joints) + text for text in ("{", "\t" + offset(tip), "}"))
            while open_joints and open_joints[-1] != next_parent:
                open_joints.pop()
                line("}")
    return "\n".join(lines) + "\n"


def _channel_blocks(arrays: MotionArrays, order: list[int], units_per_metre: float) -> Iterator[Rows]:
    """Rows of the motion section, ``(t, 3 + 3 J)``, a block of frames at a time."""
    root = arrays.skeleton.rest_joints[0].double().cpu()
    last: Rows | None = None
    for start in range(0, len(arrays.translation), BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        axis_angle = arrays.local_axis_angle[block, order].detach().cpu().double()
        degrees = torch.rad2deg(matrix_to_euler(axis_angle_to_matrix(axis_angle), ORDER)).flatten(1).numpy()
        degrees = np.unwrap(degrees if last is None else np.concatenate([last, degrees]), axis=0, period=360)
        degrees = degrees if last is None else degrees[1:]
        last = degrees[-1:]
        positions = (root + arrays.translation[block].detach().cpu().double()) * units_per_metre
        yield np.round(np.concatenate([positions.numpy(), degrees], axis=1), 6) + 0.0  # no -0.000000


def _read(reader: BvhReader, units_per_metre: float | None) -> MotionArrays:
    joints = reader.read_hierarchy()
    num_frames, rate_hz = reader.read_motion_header()
    if num_frames * len(joints) > MAX_ROTATIONS:
        raise BvhError(f"expected at most {MAX_ROTATIONS} rotations; got {num_frames} frames of {len(joints)} joints.")
    positions, local_axis_angle = [], []
    for rows in reader.read_rows(num_frames, sum(len(joint.channels) for joint in joints)):
        positions.append(_positions(joints, rows))
        local_axis_angle.append(_rotations(joints, rows))
    offsets, root = _offsets(joints, np.concatenate(positions))
    parents = tuple(joint.parent for joint in joints)
    rest = offsets.copy()
    for joint, parent in enumerate(parents[1:], start=1):
        rest[joint] += rest[parent]
    if units_per_metre is None:
        units_per_metre = 1.0 if np.ptp(rest, axis=0).max() < LARGEST_METRES else 100.0
    rest, root = rest / units_per_metre, root / units_per_metre
    longest = max(np.abs(rest).max(), np.abs(root).max())
    if longest > LONGEST_METRES:
        raise BvhError(f"expected lengths up to {LONGEST_METRES:g} metres; got {longest:g}.")
    skeleton, order = _skeleton(tuple(joint.name for joint in joints), parents, torch.from_numpy(rest))
    translation = torch.from_numpy(root) - skeleton.rest_joints[0].double()
    return MotionArrays(
        local_axis_angle=torch.cat(local_axis_angle)[:, order],
        translation=translation.float(),
        expressions=None,
        betas=None,
        rate_hz=rate_hz,
        skeleton=skeleton,
    )


def _channel_columns(joints: list[BvhJoint]) -> list[tuple[int, str, str]]:
    """Joint, axis letter and kind (``position`` or ``rotation``) of every column of the motion section."""
    return [(index, channel[0], channel[1:]) for index, joint in enumerate(joints) for channel in joint.channels]


def _positions(joints: list[BvhJoint], rows: Rows) -> Rows:
    """The columns with positions, ``(t, P)``."""
    return rows[:, [i for i, (_, _, kind) in enumerate(_channel_columns(joints)) if kind == "position"]]


def _rotations(joints: list[BvhJoint], rows: Rows) -> Tensor:
    """Axis-angles of the joints, float32, ``(t, J, 3)``; axes without a channel do not turn."""
    rows = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)  # column -1 stands for an absent channel
    turns: list[dict[str, int]] = [{} for _ in joints]  # axis letter to column, in the order of the channels
    for column, (joint, axis, kind) in enumerate(_channel_columns(joints)):
        if kind == "rotation":
            turns[joint][axis] = column
    members: dict[str, list[int]] = {}
    for index, turn in enumerate(turns):
        turn.update((axis, -1) for axis in "XYZ" if axis not in turn)
        members.setdefault("".join(turn), []).append(index)
    local_axis_angle = torch.empty(len(rows), len(joints), 3)
    for order, indices in members.items():
        degrees = torch.from_numpy(rows[:, [list(turns[index].values()) for index in indices]])
        local_axis_angle[:, indices] = matrix_to_axis_angle(euler_to_matrix(torch.deg2rad(degrees), order)).float()
    return local_axis_angle


def _offsets(joints: list[BvhJoint], positions: Rows) -> tuple[Rows, Rows]:
    """Where each joint stands beside its parent, ``(J, 3)``, and the root in the world, ``(T, 3)``."""
    offsets = np.array([joint.offset for joint in joints])
    root = np.tile(offsets[0], (len(positions), 1))
    tolerance = FIXED_JOINT_TOLERANCE * np.abs(offsets).max()
    columns = [(joint, "XYZ".index(axis)) for joint, axis, kind in _channel_columns(joints) if kind == "position"]
    placed = offsets.copy()
    for (joint, axis), values in zip(columns, positions.T, strict=True):
        if joint == 0:
            root[:, axis] = values
        elif np.ptp(values) > tolerance:
            raise BvhError(
                f"joint {joints[joint].name[:40]!r}: expected a fixed distance from its parent; it moves along "
                f"{'XYZ'[axis]} by {np.ptp(values):g} units."
            )
        else:
            placed[joint, axis] = values[0]
    for joint in {joint for joint, _ in columns if joint > 0}:
        # All zero: a program that adds channels to offsets. Anything else: one that replaces them, as most do.
        if placed[joint].any():
            offsets[joint] = placed[joint]
    return offsets, root


def _skeleton(names: tuple[str, ...], parents: tuple[int, ...], rest_joints: Tensor) -> tuple[Skeleton, list[int]]:
    """The skeleton of a file, and the file's joints in its order."""
    parent_names = {name: names[parent] if parent >= 0 else "" for name, parent in zip(names, parents, strict=True)}
    for known in (SMPLX, SMPL22):
        known_parents = [known.names[parent] if parent >= 0 else "" for parent in known.parents]
        if parent_names == dict(zip(known.names, known_parents, strict=True)):
            order = [names.index(name) for name in known.names]
            rest_joints = rest_joints[order]
            # Our files keep the root at zero. Its place in the rest pose moves nothing but the meaning of translation.
            rest_joints = rest_joints - rest_joints[0] + known.rest_joints[0]
            same = bool((rest_joints - known.rest_joints).abs().max() < SAME_METRES)
            return known if same else known.with_rest_joints(rest_joints.float()), order
    return Skeleton(names=names, parents=parents, rest_joints=rest_joints.float()), list(range(len(names)))
