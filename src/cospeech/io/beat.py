"""What BEAT's tools read: a BVH on the capture skeleton, and facial weights as JSON.

``Motion.save`` writes BVH for Blender and game engines. This page writes what programs made for BEAT expect: angles in
the order X, Y, Z, centimetres, six numbers for the hips and three for every other joint.
"""

from __future__ import annotations

import json
import os

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.io.atomic import atomic_path
from cospeech.skeleton import (
    BEAT,
    BEAT_ARKIT_NAMES,
    BEAT_BASE_DEGREES,
    BEAT_BASE_POSITION,
    BEAT_GESTURE_JOINTS,
)

__all__ = ["save_arkit_json", "save_beat_bvh"]

_PUBLISHED_FRAME_TIME = "0.008333"


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
