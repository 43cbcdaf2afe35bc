"""Takes and windows for EMAGE's training: from a BEAT2 folder, from its published lists of windows, from anything else.

A take is read once, and its windows are slices of it. What a data set does not have (sound, hands, face, legs) is named
on the take; a batch holds windows that have the same.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; windows and clocks are those of its published program, which reads both files anew for every
    window, and divides rotations by 1 + 1e-7.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from cospeech.audio import load_audio
from cospeech.errors import MotionFileError
from cospeech.models import EmageParts
from cospeech.models.emage_generation import AUDIO_RATE_HZ, FRAME_RATE_HZ, SAMPLES_PER_FRAME
from cospeech.motion import Motion
from cospeech.representations import emage_foot_contact
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.skeleton import SMPLX

__all__ = [
    "EmageBatch",
    "EmageTake",
    "EmageWindows",
    "ListedWindow",
    "emage_take",
    "emage_window_starts",
    "load_emage_take",
    "read_window_list",
]

ALL_PARTS = frozenset(EmageParts._fields)


class EmageTake(NamedTuple):
    """One recording as EMAGE's networks take it, 30 frames per second.

    Attributes:
        name: Of the recording.
        rot6d: Local rotations of all joints, ``(F, 330)``.
        expressions: ``(F, 100)``.
        translation: Metres, ``(F, 3)``.
        contact: 1 where a foot stands, ``(F, 4)``.
        waveform: 16 kHz, ``(S,)``; None where there is no sound.
        speaker: As the networks number them, from 0.
        parts: Which parts of the body were recorded; the channels of the others may hold anything.
        data_set: Whose codebooks and classifiers it belongs to.
    """

    name: str
    rot6d: Tensor
    expressions: Tensor
    translation: Tensor
    contact: Tensor
    waveform: Tensor | None = None
    speaker: int = 0
    parts: frozenset[str] = ALL_PARTS
    data_set: str = "beat2"

    @property
    def kind(self) -> tuple[str, frozenset[str], bool]:
        """What windows must share to be in one batch: data set, parts, whether there is sound."""
        return self.data_set, self.parts, self.waveform is not None


class EmageBatch(NamedTuple):
    """Windows of one kind; attributes as for ``EmageTake``, with a leading axis ``B``."""

    rot6d: Tensor
    expressions: Tensor
    translation: Tensor
    contact: Tensor
    waveform: Tensor | None
    speaker: Tensor
    parts: frozenset[str]
    data_set: str


class ListedWindow(NamedTuple):
    """An entry of a published list: one window of a recording, frames ``start`` to ``end``, the last one excluded."""

    name: str
    motion_path: Path
    audio_path: Path
    mode: str
    start: int
    end: int


def emage_take(
    motion: Motion,
    waveform: Tensor | None = None,
    *,
    name: str = "",
    speaker: int = 0,
    parts: Iterable[str] = ALL_PARTS,
    data_set: str = "beat2",
    contact: Tensor | None = None,
) -> EmageTake:
    """A take from a motion.

    Args:
        motion: 55 joints at 30 Hz. Without expressions the face is absent.
        waveform: 16 kHz, ``(S,)``.
        name: See ``EmageTake``.
        speaker: See ``EmageTake``.
        parts: Which parts of the body are there.
        data_set: See ``EmageTake``.
        contact: Labels ``(F, 4)``; by default from how the feet move on the mean rest pose (the published labels are
            from each speaker's body).

    Raises:
        ValueError: If joints or rate are others, or a part is unknown.
    """
    if motion.skeleton.parents != SMPLX.parents or motion.rate_hz != FRAME_RATE_HZ:
        raise ValueError(
            f"`motion` must have {SMPLX.num_joints} joints at {FRAME_RATE_HZ} Hz; got {motion.skeleton.num_joints} at "
            f"{motion.rate_hz:g} Hz."
        )
    found = frozenset(parts)
    if not found <= ALL_PARTS:
        raise ValueError(f"Unknown parts {sorted(found - ALL_PARTS)}; choose from {', '.join(EmageParts._fields)}.")
    expressions = motion.expressions
    if expressions is None:
        expressions, found = motion.translation.new_zeros(motion.num_frames, 100), found - {"face"}
    if contact is None:
        contact = emage_foot_contact(motion.joints()[:, list(SMPLX.groups["feet"])])
    return EmageTake(
        name=name,
        rot6d=axis_angle_to_rot6d(motion.local_axis_angle.float()).flatten(-2),
        expressions=expressions.float(),
        translation=motion.translation.float(),
        contact=contact.float(),
        waveform=waveform,
        speaker=speaker,
        parts=found,
        data_set=data_set,
    )


def load_emage_take(
    motion_path: str | os.PathLike[str],
    audio_path: str | os.PathLike[str] | None = None,
    *,
    speaker: int = 0,
    parts: Iterable[str] = ALL_PARTS,
    data_set: str = "beat2",
) -> EmageTake:
    """A take from files; contact labels are read where BEAT2 has them, in ``footcontact`` beside ``smplxflame_30``.

    Raises:
        OSError: If a file is missing.
        MotionFileError: If a file is not what it should be.
        AudioError: If the sound cannot be read.
        ValueError: See ``emage_take``.
    """
    motion_path = Path(motion_path)
    motion = Motion.load(motion_path)
    return emage_take(
        motion,
        None if audio_path is None else load_audio(Path(audio_path), AUDIO_RATE_HZ),
        name=motion_path.stem,
        speaker=speaker,
        parts=parts,
        data_set=data_set,
        contact=_read_contact(motion_path, motion.num_frames),
    )


def read_window_list(
    path: str | os.PathLike[str], *, mode: str | None = None, root: str | os.PathLike[str] | None = None
) -> list[ListedWindow]:
    """The entries of a published JSON list, such as ``beat2_s20_l64_speaker2.json``.

    Args:
        path: The file.
        mode: "train", "val", "test" or "additional"; all of them by default.
        root: What relative paths in the list stand in; by default the folder of the list.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no such list.
    """
    path = Path(path)
    base = path.parent if root is None else Path(root)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        windows = [_listed(entry, base) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must list windows with video_id, motion_path, audio_path, mode, start_idx and end_idx; "
            f"{type(error).__name__}: {error}."
        ) from error
    return [window for window in windows if mode is None or window.mode == mode]


def emage_window_starts(num_frames: int, *, window_frames: int = 64, stride_frames: int = 20) -> range:
    """First frames of the windows of a take, as published: a window that ends with the take's last frame is left out.

    Example:
        >>> list(emage_window_starts(104))
        [0, 20]
    """
    return range(0, max(0, num_frames - window_frames), stride_frames)


class EmageWindows:
    """Windows of takes, each frame in memory once.

    Args:
        takes: The recordings.
        windows: For each window, the number of its take and its first frame.
        window_frames: Frames of every window.

    Example:
        >>> still = Motion(local_axis_angle=torch.zeros(105, 55, 3), translation=torch.zeros(105, 3), rate_hz=30)
        >>> windows = EmageWindows.cut([emage_take(still)])
        >>> len(windows), windows.batch([0, 2]).rot6d.shape
        (3, torch.Size([2, 64, 330]))
    """

    def __init__(self, takes: Sequence[EmageTake], windows: Sequence[tuple[int, int]], *, window_frames: int = 64):
        self.takes, self.windows, self.window_frames = list(takes), list(windows), window_frames
        for number, start in self.windows:
            if not 0 <= start <= len(self.takes[number].rot6d) - window_frames:
                raise ValueError(
                    f"Windows must lie within their takes; {self.takes[number].name!r} has "
                    f"{len(self.takes[number].rot6d)} frames, got {start} to {start + window_frames}."
                )

    @classmethod
    def cut(cls, takes: Sequence[EmageTake], *, window_frames: int = 64, stride_frames: int = 20) -> EmageWindows:
        """All windows of the takes whose sound lasts as long as they do; see ``emage_window_starts``."""
        windows = [
            (number, start)
            for number, take in enumerate(takes)
            for start in emage_window_starts(
                _num_frames(take), window_frames=window_frames, stride_frames=stride_frames
            )
        ]
        return cls(takes, windows, window_frames=window_frames)

    @classmethod
    def listed(cls, windows: Sequence[ListedWindow], *, speakers: Mapping[str, int] | None = None) -> EmageWindows:
        """The windows of a published list, which must all be of one length; each recording is read once.

        Args:
            windows: See ``read_window_list``.
            speakers: The number of each recording's speaker; 0 by default, as published.

        Raises:
            ValueError: If there is no window, or their lengths differ.
        """
        lengths = {window.end - window.start for window in windows}
        if len(lengths) != 1:
            raise ValueError(f"`windows` must be of one length; got {sorted(lengths) or 'none'}.")
        numbers: dict[tuple[Path, Path], int] = {}
        takes: list[EmageTake] = []
        for window in windows:
            files = window.motion_path, window.audio_path
            if files not in numbers:
                numbers[files] = len(takes)
                takes.append(load_emage_take(*files, speaker=(speakers or {}).get(window.name, 0)))
        where = [(numbers[window.motion_path, window.audio_path], window.start) for window in windows]
        return cls(takes, where, window_frames=lengths.pop())

    def __len__(self) -> int:
        return len(self.windows)

    def kinds(self) -> list[list[int]]:
        """Numbers of windows that may be in one batch, kind by kind."""
        groups: dict[object, list[int]] = {}
        for index, (number, _) in enumerate(self.windows):
            groups.setdefault(self.takes[number].kind, []).append(index)
        return list(groups.values())

    def batch(self, indices: Sequence[int] | Tensor) -> EmageBatch:
        """Windows by their numbers.

        Raises:
            ValueError: If there is none, or they are of different kinds.
        """
        places = [self.windows[int(index)] for index in indices]
        kinds = {self.takes[number].kind for number, _ in places}
        if len(kinds) != 1:
            raise ValueError(f"A batch must hold windows of one kind; got {len(kinds)} kinds.")
        ((data_set, parts, has_sound),) = kinds

        def frames(name: str) -> Tensor:
            cuts = [getattr(self.takes[n], name)[start : start + self.window_frames] for n, start in places]
            return torch.stack(cuts)

        return EmageBatch(
            rot6d=frames("rot6d"),
            expressions=frames("expressions"),
            translation=frames("translation"),
            contact=frames("contact"),
            waveform=torch.stack([self._sound(*place) for place in places]) if has_sound else None,
            speaker=torch.tensor([self.takes[number].speaker for number, _ in places]),
            parts=parts,
            data_set=data_set,
        )

    def _sound(self, number: int, start: int) -> Tensor:
        """The samples of a window by the published clock, silence after the end."""
        waveform = self.takes[number].waveform
        assert waveform is not None
        count = SAMPLES_PER_FRAME * self.window_frames
        samples = waveform[SAMPLES_PER_FRAME * start :][:count]
        return pad(samples, (0, count - len(samples)))


def _num_frames(take: EmageTake) -> int:
    if take.waveform is None:
        return len(take.rot6d)
    return min(len(take.rot6d), len(take.waveform) // SAMPLES_PER_FRAME)


def _listed(entry: Mapping[str, object], base: Path) -> ListedWindow:
    start, end = entry["start_idx"], entry["end_idx"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end):
        raise ValueError(f"start_idx and end_idx must be frames; got {start!r} and {end!r}")
    motion, audio = (base / str(entry[name]) for name in ("motion_path", "audio_path"))
    return ListedWindow(str(entry["video_id"]), motion, audio, str(entry["mode"]), start, end)


def _read_contact(motion_path: Path, num_frames: int) -> Tensor | None:
    path = Path(str(motion_path).replace("smplxflame_30", "footcontact")).with_suffix(".npy")
    if path == motion_path or not path.is_file():
        return None
    try:
        labels = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise MotionFileError(f"{path}: expected a NumPy array; {error}.") from error
    if labels.shape != (num_frames, 4):
        raise MotionFileError(f"{path}: expected shape ({num_frames}, 4), one row for each frame; got {labels.shape}.")
    return torch.from_numpy(labels.astype(np.float32))
