"""Where recordings come from: BEAT2, folders of npz and wav, single files, the procedural corpus.

A source is a frozen dataclass: it lists names and loads one recording by its name, so that any process can do so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.data.beat2 import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Recording, load_recording, read_split
from cospeech.data.synthetic import SPEAKERS, make_clip
from cospeech.errors import MotionFileError
from cospeech.motion import Motion
from cospeech.rotations import matrix_to_axis_angle

__all__ = [
    "Beat2Source",
    "FilesSource",
    "NpzFolderSource",
    "ProceduralSource",
    "Source",
    "files_state",
    "motion_recording",
]


class Source(Protocol):
    """What ``cospeech.data.prepare`` takes."""

    def names(self) -> list[str]:
        """The takes, each once, in an order that stays."""

    def load(self, name: str) -> Any:
        """One of them, a ``Recording`` or a ``FeatureClip``; an error leaves it out and is told in the report."""

    def fingerprint(self, name: str) -> str:
        """Changes whenever what ``load`` reads does; cheap."""


@dataclass(frozen=True, kw_only=True)
class Beat2Source:
    """A BEAT2 folder, which must be obtained from its authors.

    Attributes:
        folder: Such as ``beat_english_v2.0.0``.
        split: "train", "val", "test" or "additional".
        speakers: Numbers of those to keep; () keeps all.
    """

    folder: str
    split: str = "train"
    speakers: tuple[int, ...] = ()

    def names(self) -> list[str]:
        """See ``Source``."""
        names = read_split(self.folder, self.split)
        return [name for name in names if not self.speakers or name.split("_")[0] in map(str, self.speakers)]

    def load(self, name: str) -> Recording:
        """See ``Source``."""
        return load_recording(self.folder, name)

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        root = Path(self.folder)
        return files_state(root / "smplxflame_30" / f"{name}.npz", root / "wave16k" / f"{name}.wav")


@dataclass(frozen=True, kw_only=True)
class NpzFolderSource:
    """A folder of SMPL-X clips, ``.npz`` with a ``.wav`` of the same name beside each, as SHOW is converted to.

    Attributes:
        folder: Searched to any depth. Its own folders are speakers, numbered from 1 in the order of the alphabet.
    """

    folder: str

    def names(self) -> list[str]:
        """See ``Source``: paths below the folder, without suffix."""
        root = Path(self.folder)
        return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.npz"))

    def load(self, name: str) -> Recording:
        """See ``Source``."""
        root = Path(self.folder)
        speakers = sorted(path.name for path in root.iterdir() if path.is_dir())
        first = name.split("/")[0]
        speaker = speakers.index(first) + 1 if first in speakers else 1
        return _load_files(name, root / f"{name}.npz", root / f"{name}.wav", speaker)

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        root = Path(self.folder)
        return files_state(root / f"{name}.npz", root / f"{name}.wav")


@dataclass(frozen=True, kw_only=True)
class FilesSource:
    """Single takes.

    Attributes:
        motion: BEAT2 ``.npz`` files.
        audio: The sound of each.
        speaker: Number of whoever speaks in all of them.
    """

    motion: tuple[str, ...]
    audio: tuple[str, ...]
    speaker: int = 1

    def __post_init__(self) -> None:
        if len(self.motion) != len(self.audio):
            raise ValueError(f"`audio` must name {len(self.motion)} files, as `motion` does; got {len(self.audio)}.")

    def names(self) -> list[str]:
        """See ``Source``."""
        return [f"{number:03d}-{Path(path).stem}" for number, path in enumerate(self.motion)]

    def load(self, name: str) -> Recording:
        """See ``Source``."""
        number = int(name.split("-")[0])
        return _load_files(name, Path(self.motion[number]), Path(self.audio[number]), self.speaker)

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        number = int(name.split("-")[0])
        return files_state(Path(self.motion[number]), Path(self.audio[number]))


@dataclass(frozen=True, kw_only=True)
class ProceduralSource:
    """Clips of ``cospeech.data.synthetic``.

    Attributes:
        clips: How many; speakers take turns.
        seconds: Length of each.
        seed: Of the first; the others count on.
        speakers: How many of the four take turns.
    """

    clips: int = 8
    seconds: float = 30.0
    seed: int = 0
    speakers: int = len(SPEAKERS)

    def names(self) -> list[str]:
        """See ``Source``."""
        return [f"procedural-{number:05d}" for number in range(self.clips)]

    def load(self, name: str) -> Recording:
        """See ``Source``."""
        number = int(name.rpartition("-")[2])
        clip = make_clip(self.seconds, speaker=1 + number % self.speakers, seed=self.seed + number)
        motion = Motion.from_local_rotations(
            clip.local_rotations, translation=clip.translation, expressions=clip.expressions, rate_hz=FRAME_RATE_HZ
        )
        return motion_recording(motion, clip.waveform, name=name, speaker=clip.speaker)

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        return f"{name} {self.seconds} {self.seed} {self.speakers}"


def motion_recording(motion: Motion, waveform: Tensor, *, name: str, speaker: int) -> Recording:
    """A recording from a clip of 55 joints at 30 Hz and its sound at 16 kHz, cut to what both cover.

    Raises:
        MotionFileError: If the clip has another rate or other joints.
    """
    if motion.skeleton.num_joints != 55 or motion.rate_hz != FRAME_RATE_HZ:
        raise MotionFileError(
            f"{name}: expected 55 joints at {FRAME_RATE_HZ} Hz; got {motion.skeleton.num_joints} at "
            f"{motion.rate_hz:g} Hz."
        )
    motion = motion[: min(motion.num_frames, int(len(waveform) / SAMPLE_RATE_HZ * FRAME_RATE_HZ))]
    count = motion.num_frames
    expressions = torch.zeros(count, 100) if motion.expressions is None else motion.expressions
    return Recording(
        name=name,
        speaker=speaker,
        axis_angle=matrix_to_axis_angle(motion.global_rotations()).float(),
        translation=motion.translation.float(),
        expressions=expressions.float(),
        betas=torch.zeros(300),
        semantic=torch.zeros(count),
        waveform=waveform.float(),
    )


def _load_files(name: str, motion: Path, audio: Path, speaker: int) -> Recording:
    return motion_recording(Motion.load(motion), load_audio(audio, SAMPLE_RATE_HZ), name=name, speaker=speaker)


def files_state(*paths: Path) -> str:
    """Names, sizes and times of files, as one text."""
    states = [path.stat() if path.exists() else None for path in paths]
    found = [f"{state.st_size} {state.st_mtime_ns}" if state else "missing" for state in states]
    return " ".join([*map(str, paths), *found])
