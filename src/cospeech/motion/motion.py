"""One clip of motion as a value: immutable, checked once, passed between everything else.

Conventions: SMPL-X. Frame ``t`` shows the moment ``t / rate_hz``. Rotations are axis-angles in radians, each in its
parent's frame; the world is right-handed with Y up. ``translation`` is what SMPL-X calls ``trans``, in metres: the
root joint lies at ``skeleton.rest_joints[root] + translation``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.io import MotionArrays, load_bvh, load_npz, save_bvh, save_npz
from cospeech.motion.resample import frame_positions, sample_linear, sample_rotations
from cospeech.motion.windows import crossfade_linear, crossfade_rotations, window_slices
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, Skeleton, forward_kinematics, global_to_local, local_to_global

__all__ = ["Motion"]

FRAMED = ("local_axis_angle", "translation", "expressions")  # the tensors with a frame axis
TENSORS = (*FRAMED, "betas")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Motion:
    """A clip of holistic motion: body, hands, face, and how fast it plays.

    Nothing is copied or cast: each tensor keeps the dtype (float32 or float64) it came with, and what derives from the
    rotations takes their dtype. The value is immutable; change a field with ``dataclasses.replace``. Do not write into
    its tensors, slices share their memory.

    Attributes:
        local_axis_angle: Rotation of each joint in its parent's frame (the root's in the world), radians,
            ``(T, J, 3)``.
        translation: Root joint minus its place in the rest pose, metres, ``(T, 3)``.
        expressions: SMPL-X facial expression weights ``(T, E)``, or None.
        betas: SMPL-X body shape weights ``(B,)``, or None. They travel along; joints come from ``skeleton``.
        rate_hz: Frames per second.
        skeleton: Joint names, tree and rest joints, in the order of axis ``J``.
        gender: SMPL-X body model's: "neutral", "female" or "male".
        model: Name of the body model.

    Raises:
        TypeError: If a field has another type, or a tensor is neither float32 nor float64.
        ValueError: If shapes, frame counts or devices disagree, no frame is left, or the rate is not positive.

    Example:
        >>> motion = Motion(local_axis_angle=torch.zeros(60, 55, 3), translation=torch.zeros(60, 3), rate_hz=30)
        >>> motion
        Motion(60 frames of 55 joints at 30 Hz, 2.00 s)
        >>> motion[15:45].duration_seconds
        1.0
        >>> motion.resample(15).num_frames
        30
    """

    local_axis_angle: Tensor
    translation: Tensor
    expressions: Tensor | None = None
    betas: Tensor | None = None
    rate_hz: float
    skeleton: Skeleton = SMPLX
    gender: str = "neutral"
    model: str = "smplx2020"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate_hz", _check_rate(self.rate_hz))
        _check_tensor("local_axis_angle", self.local_axis_angle, f"T {self.skeleton.num_joints} 3")
        num_frames = self.local_axis_angle.shape[0]
        if num_frames == 0:
            raise ValueError("A motion must hold at least one frame; got none.")
        _check_tensor("translation", self.translation, f"{num_frames} 3")
        if self.expressions is not None:
            _check_tensor("expressions", self.expressions, f"{num_frames} E")
        if self.betas is not None:
            _check_tensor("betas", self.betas, "B")
        for name in ("gender", "model"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"`{name}` must be a str; got {type(getattr(self, name)).__name__}.")
        devices = sorted({str(x.device) for x in self._tensors().values()})
        if len(devices) > 1:
            raise ValueError(f"All tensors of a motion must be on one device; got {', '.join(devices)}.")

    @classmethod
    def from_local_rotations(
        cls, local_rotations: Tensor, *, translation: Tensor, rate_hz: float, **rest: Any
    ) -> Motion:
        """A motion from rotation matrices in the parents' frames.

        Args:
            local_rotations: ``(T, J, 3, 3)``.
            translation: Metres, ``(T, 3)``.
            rate_hz: Frames per second.
            **rest: The other fields.
        """
        check_shape("local_rotations", local_rotations, "T J 3 3")
        axis_angle = matrix_to_axis_angle(local_rotations)
        return cls(local_axis_angle=axis_angle, translation=translation, rate_hz=rate_hz, **rest)

    @classmethod
    def from_global_rotations(
        cls, global_rotations: Tensor, *, translation: Tensor, rate_hz: float, skeleton: Skeleton = SMPLX, **rest: Any
    ) -> Motion:
        """A motion from rotation matrices in the world frame.

        Args:
            global_rotations: ``(T, J, 3, 3)``.
            translation: Metres, ``(T, 3)``.
            rate_hz: Frames per second.
            skeleton: The joints, in the order of axis ``J``.
            **rest: The other fields.
        """
        check_shape("global_rotations", global_rotations, f"T {skeleton.num_joints} 3 3")
        local_rotations = global_to_local(global_rotations, skeleton)
        return cls.from_local_rotations(
            local_rotations, translation=translation, rate_hz=rate_hz, skeleton=skeleton, **rest
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, units_per_metre: float | None = None) -> Motion:
        """Read a motion file by its suffix.

        Args:
            path: A ``.npz`` (BEAT2, AMASS) or ``.bvh`` file; see ``cospeech.io.load_npz`` and ``load_bvh``.
            units_per_metre: For ``.bvh`` alone, whose unit is nowhere written: 1 for metres, 100 for centimetres. By
                default it is told from the size of the skeleton.

        Raises:
            ValueError: If the suffix is unknown.
            OSError: If the file cannot be opened.
            MotionFileError: If it does not hold a whole motion.
        """
        if _suffix(path, units_per_metre) == ".npz":
            arrays = load_npz(path)
        else:
            arrays = load_bvh(path, units_per_metre=units_per_metre)
        return cls(**arrays._asdict())

    def save(self, path: str | os.PathLike[str], *, units_per_metre: float | None = None) -> None:
        """Write a motion file by its suffix; it appears whole or not at all.

        ``.npz`` keeps everything but the skeleton's rest joints, which it takes from the joint count when read.
        ``.bvh`` keeps the rotations, root and skeleton, but neither expressions nor body shape. For an ``.html``
        page to look at, see ``cospeech.viz.save_html``.

        Args:
            path: Ends in ``.npz`` or ``.bvh``.
            units_per_metre: For ``.bvh`` alone: 1 (the default) for metres, as Blender expects; 100 for centimetres.

        Raises:
            ValueError: If the suffix is unknown, or the format cannot hold this skeleton.
            OSError: If the file cannot be written.
        """
        suffix = _suffix(path, units_per_metre)
        arrays = MotionArrays(**{name: getattr(self, name) for name in MotionArrays._fields})
        if suffix == ".npz":
            save_npz(path, arrays)
        else:
            save_bvh(path, arrays, units_per_metre=1.0 if units_per_metre is None else units_per_metre)

    @staticmethod
    def concatenate(motions: Sequence[Motion], crossfade_frames: int = 0) -> Motion:
        """Motions one after the other, each seam blended over ``crossfade_frames`` that both sides share.

        Rotations turn along the shortest way, translation and expressions go straight, each frame of a seam of ``F``
        nearer the later motion by ``1 / (F + 1)``. Motions are not moved: where two do not meet, the seam slides. The
        windows of a motion, joined over their overlap, give the motion back bit for bit.

        Args:
            motions: At least one. They share rate, skeleton, shape, gender and model, and all have expressions of one
                width or none has.
            crossfade_frames: Frames of each seam; no motion may have fewer.

        Returns:
            A motion of ``sum(T_i) - crossfade_frames * (len(motions) - 1)`` frames.

        Raises:
            ValueError: If the motions do not go together.
        """
        motions = list(motions)
        if not motions:
            raise ValueError("`motions` must hold at least one motion; got none.")
        first = motions[0]
        for i, motion in enumerate(motions):
            _check_joinable(first, motion, i)
        shortest = min(motion.num_frames for motion in motions)
        if crossfade_frames < 0 or (len(motions) > 1 and crossfade_frames > shortest):
            raise ValueError(
                f"`crossfade_frames` must be from 0 to the shortest motion's {shortest} frames; got {crossfade_frames}."
            )
        expressions = [motion.expressions for motion in motions if motion.expressions is not None]
        return replace(
            first,
            local_axis_angle=crossfade_rotations([motion.local_axis_angle for motion in motions], crossfade_frames),
            translation=crossfade_linear([motion.translation for motion in motions], crossfade_frames),
            expressions=crossfade_linear(expressions, crossfade_frames) if expressions else None,
        )

    @property
    def num_frames(self) -> int:
        """Number of frames ``T``, at least 1."""
        return self.local_axis_angle.shape[0]

    @property
    def duration_seconds(self) -> float:
        """``num_frames / rate_hz``: the last frame, too, is shown for its share of time."""
        return self.num_frames / self.rate_hz

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.local_axis_angle.device

    def local_rotations(self) -> Tensor:
        """Rotation matrices in the parents' frames, ``(T, J, 3, 3)``, in the dtype of ``local_axis_angle``."""
        return axis_angle_to_matrix(self.local_axis_angle)

    def global_rotations(self) -> Tensor:
        """Rotation matrices in the world frame, ``(T, J, 3, 3)``, in the dtype of ``local_axis_angle``."""
        return local_to_global(self.local_rotations(), self.skeleton)

    def joints(self) -> Tensor:
        """Joint positions in the world, metres, ``(T, J, 3)``, in the dtype of ``local_axis_angle``."""
        translation = self.translation.to(self.local_axis_angle.dtype)
        return forward_kinematics(self.local_rotations(), self.skeleton, translation=translation)

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: slice) -> Motion:
        """The frames of a slice, as views; negative bounds count from the end.

        Raises:
            TypeError: If ``index`` is not a slice.
            ValueError: If the slice has a step (which would change the rate) or selects no frame.

        Example:
            >>> motion = Motion(local_axis_angle=torch.zeros(60, 55, 3), translation=torch.zeros(60, 3), rate_hz=30)
            >>> motion[-10:].num_frames
            10
        """
        if not isinstance(index, slice):
            raise TypeError(f"A motion is indexed by a slice, such as motion[3:4]; got {index!r}.")
        if index.step not in (None, 1):
            raise ValueError(
                f"A slice of a motion must have step 1; got {index.step}. Use resample to change the rate."
            )
        start, stop, _ = index.indices(self.num_frames)
        if stop <= start:
            raise ValueError(f"The slice {start}:{stop} selects none of the motion's {self.num_frames} frames.")
        return self._map(lambda x: x[start:stop], FRAMED)

    def resample(self, rate_hz: float) -> Motion:
        """The same motion at another frame rate.

        New frame ``i`` shows the moment ``i / rate_hz`` of the old motion, so the first frame stays and audio keeps in
        step. Rotations are interpolated on SO(3) (slerp), translation and expressions linearly. The number of frames
        is ``round(num_frames * rate_hz / self.rate_hz)``, at least 1: the duration stays to within half a new frame,
        and moments after the last old frame hold it. Frames that fall on old ones are exact copies.

        Going down in rate, frames are picked or interpolated, not low-pass filtered: halving the rate drops every
        other frame, as the published data sets are made. Motion faster than half the new rate (capture noise, say)
        aliases; filter it before where that matters.

        Args:
            rate_hz: Frames per second.

        Raises:
            ValueError: If the rate is not positive.
        """
        rate_hz = _check_rate(rate_hz)
        if rate_hz == self.rate_hz:
            return self
        positions = frame_positions(self.num_frames, self.rate_hz, rate_hz)
        return replace(
            self,
            local_axis_angle=sample_rotations(self.local_axis_angle, positions),
            translation=sample_linear(self.translation, positions),
            expressions=None if self.expressions is None else sample_linear(self.expressions, positions),
            rate_hz=rate_hz,
        )

    def windows(self, num_frames: int, overlap_frames: int = 0) -> list[Motion]:
        """Windows that cover the clip, each sharing ``overlap_frames`` with the next.

        The last one is shorter where the clip does not divide.
        ``Motion.concatenate(windows, crossfade_frames=overlap_frames)`` gives the clip back bit for bit.

        Args:
            num_frames: Length of a window.
            overlap_frames: Frames shared by neighbours, fewer than ``num_frames``.

        Raises:
            ValueError: If a count is out of range.
        """
        return [self[where] for where in window_slices(self.num_frames, num_frames, overlap_frames)]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Motion:
        """The motion on another device, or with all its tensors in one dtype (float32 or float64)."""
        return self._map(lambda x: x.to(device=device, dtype=dtype), TENSORS)

    def equal(self, other: Motion) -> bool:
        """Whether both hold the same: every number, dtype, name, the rate and the skeleton, on whatever device."""
        ours, theirs = self._tensors(), other._tensors()
        return (
            ours.keys() == theirs.keys()
            and all(ours[name].dtype == theirs[name].dtype and _same_tensor(ours[name], theirs[name]) for name in ours)
            and (self.rate_hz, self.gender, self.model) == (other.rate_hz, other.gender, other.model)
            and self.skeleton == other.skeleton
        )

    def __repr__(self) -> str:
        extras = [f"{x.shape[-1]} {name}" for name, x in self._tensors().items() if name in ("expressions", "betas")]
        joints = " and ".join([f"{self.skeleton.num_joints} joints", *extras])
        return f"Motion({self.num_frames} frames of {joints} at {self.rate_hz:g} Hz, {self.duration_seconds:.2f} s)"

    def _tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, by field name."""
        return {name: getattr(self, name) for name in TENSORS if getattr(self, name) is not None}

    def _map(self, change: Callable[[Tensor], Tensor], names: tuple[str, ...], **changes: Any) -> Motion:
        """Pass the named tensors, where they are there, through ``change``."""
        changes.update((name, change(x)) for name, x in self._tensors().items() if name in names)
        return replace(self, **changes)


def _check_rate(rate_hz: float) -> float:
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"`rate_hz` must be positive and finite; got {rate_hz}.")
    return float(rate_hz)


def _check_tensor(name: str, x: object, pattern: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"`{name}` must be a torch.Tensor; got {type(x).__name__}.")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"`{name}` must be float32 or float64; got {x.dtype}.")
    check_shape(name, x, pattern)


def _check_joinable(first: Motion, motion: Motion, i: int) -> None:
    for name in ("rate_hz", "gender", "model", "device"):
        if getattr(motion, name) != getattr(first, name):
            raise ValueError(
                f"`motions` must agree in {name}; motion 0 has {getattr(first, name)!r}, motion {i} has "
                f"{getattr(motion, name)!r}."
            )
    if motion.skeleton != first.skeleton:
        raise ValueError(f"`motions` must share one skeleton; motion {i} has another than motion 0.")
    if not _same_tensor(first.betas, motion.betas):
        raise ValueError(f"`motions` must share one body shape; motion {i} has other betas than motion 0.")
    widths = [None if m.expressions is None else m.expressions.shape[1] for m in (first, motion)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"`motions` must have equally many expressions; motion 0 has {widths[0]}, motion {i} {widths[1]}."
        )


def _same_tensor(a: Tensor | None, b: Tensor | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and torch.equal(a.cpu(), b.cpu()))


def _suffix(path: str | os.PathLike[str], units_per_metre: float | None) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".bvh"):
        raise ValueError(f"A motion file must end in .npz or .bvh; got {os.fspath(path)!r}.")
    if suffix == ".npz" and units_per_metre is not None:
        raise ValueError("`units_per_metre` is for .bvh; an .npz is always in metres.")
    return suffix
