"""Clips of features with captions in memory-mapped shards: HumanML3D-272, BABEL-272, or any motion made into 272.

A shard holds the frames of its clips one after the other; names, lengths and captions stand in its header. A window of
a clip is read without its neighbours.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cospeech.data.humanml272 import HumanML272, StreamCaption, TimedCaption, parse_stream_captions
from cospeech.data.sources import Source, files_state
from cospeech.errors import MotionFileError
from cospeech.io import atomic_path
from cospeech.motion import Motion
from cospeech.representations import Streamer272
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, global_to_local

__all__ = ["Babel272Source", "ClipMaker", "ClipShards", "FeatureClip", "HumanML272Source", "MotionFeatures"]

_FORMAT = "cospeech-clips-1"


class FeatureClip(NamedTuple):
    """One clip.

    Attributes:
        name: Of the clip.
        features: ``(T, C)``.
        captions: Texts with their times in seconds, or with the frames of history before them.
    """

    name: str
    features: Tensor
    captions: Sequence[TimedCaption | StreamCaption] = ()


@dataclass(frozen=True, kw_only=True)
class HumanML272Source:
    """HumanML3D-272, or the motions of BABEL-272 in the same layout; must be obtained from its authors.

    Attributes:
        folder: With ``motion_data``, ``texts`` and ``split``.
        split: Name of a file in ``split``.
    """

    folder: str
    split: str = "train"

    def names(self) -> list[str]:
        """See ``Source``."""
        return HumanML272(self.folder).names(self.split)

    def load(self, name: str) -> FeatureClip:
        """See ``Source``; a clip without texts has none."""
        data = HumanML272(self.folder)
        has_texts = (Path(self.folder) / "texts" / f"{name}.txt").exists()
        return FeatureClip(name, data.motion(name), data.captions(name) if has_texts else ())

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        return files_state(
            Path(self.folder) / "motion_data" / f"{name}.npy", Path(self.folder) / "texts" / f"{name}.txt"
        )


@dataclass(frozen=True, kw_only=True)
class Babel272Source:
    """BABEL-272-stream: joined clips ``SPLIT/*.npy`` with ``SPLIT_text/*.txt``, as published.

    Attributes:
        folder: ``babel_272_stream``.
        split: "train_stream" or "val_stream".
    """

    folder: str
    split: str = "train_stream"

    def names(self) -> list[str]:
        """See ``Source``."""
        return sorted(path.stem for path in (Path(self.folder) / self.split).glob("*.npy"))

    def load(self, name: str) -> FeatureClip:
        """See ``Source``."""
        motion, text = self._paths(name)
        features = torch.from_numpy(np.ascontiguousarray(np.load(motion, allow_pickle=False), dtype=np.float32))
        return FeatureClip(name, features, parse_stream_captions(text.read_text(encoding="utf-8")))

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        return files_state(*self._paths(name))

    def _paths(self, name: str) -> tuple[Path, Path]:
        root = Path(self.folder)
        return root / self.split / f"{name}.npy", root / f"{self.split}_text" / f"{name}.txt"


class MotionFeatures(NamedTuple):
    """Any source of recordings as 272 features; the speaker's number stands in for a caption.

    Attributes:
        source: Of recordings.
    """

    source: Source

    def names(self) -> list[str]:
        """See ``Source``."""
        return self.source.names()

    def load(self, name: str) -> FeatureClip:
        """See ``Source``."""
        recording = self.source.load(name)
        local = global_to_local(axis_angle_to_matrix(recording.axis_angle), SMPLX)
        motion = Motion(local_axis_angle=matrix_to_axis_angle(local), translation=recording.translation, rate_hz=30)
        features = Streamer272().encode(motion).float()
        return FeatureClip(name, features, [TimedCaption(str(recording.speaker), 0.0, 0.0)])

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        return self.source.fingerprint(name)


@dataclass(frozen=True, kw_only=True)
class ClipMaker:
    """Clips of features to a shard; read them with ``ClipShards``.

    Attributes:
        dim: Channels of the features.
        min_frames: Shorter clips are left out.
    """

    dim: int = 272
    min_frames: int = 40

    def fault(self, take: FeatureClip) -> str:
        """See ``ShardMaker``."""
        if take.features.ndim != 2 or take.features.shape[1] != self.dim:
            return f"shape {tuple(take.features.shape)}: (T, {self.dim}) is wanted"
        if not bool(take.features.isfinite().all()):
            return "not finite: features"
        if len(take.features) < self.min_frames:
            return f"short: {len(take.features)} frames, at least {self.min_frames} are wanted"
        return ""

    def write(self, takes: list[FeatureClip], path: Path) -> int:
        """See ``ShardMaker``."""
        if not takes:
            return 0
        # One entry alone: several come in another order in each process, and equal shards shall be equal files.
        clips = [[take.name, len(take.features), [list(c) for c in take.captions]] for take in takes]
        header = {_FORMAT: json.dumps(clips)}
        with atomic_path(path) as unfinished:
            save_file({"frames": torch.cat([take.features for take in takes])}, unfinished, metadata=header)
        return len(takes)


class ClipShards:
    """The clips of a prepared folder, by number.

    Safe to copy to worker processes: files are opened where they are read.

    Args:
        folder: What ``prepare`` wrote with a ``ClipMaker``.

    Raises:
        MotionFileError: If there are no shards, or one of them is damaged or of another kind.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.paths = sorted(Path(folder).glob("*.safetensors"))
        if not self.paths:
            raise MotionFileError(f"{os.fspath(folder)} holds no shards; see cospeech.data.prepare.")
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.captions: list[list[TimedCaption | StreamCaption]] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._files: dict[int, Any] = {}
        for path in self.paths:
            start = 0
            for name, length, captions in _read_header(path):
                self.names.append(name)
                self.lengths.append(length)
                self.captions.append([TimedCaption(*c) if len(c) == 3 else StreamCaption(*c) for c in captions])
                self._starts.append(start)
                start += length
            self._ends.append(len(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, clip: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Frames of a clip, ``(T, C)``; all of them by default."""
        number = bisect.bisect_right(self._ends, clip)
        if number not in self._files:
            self._files[number] = safe_open(self.paths[number], framework="pt")
        first, length = self._starts[clip], self.lengths[clip]
        found: Tensor = self._files[number].get_slice("frames")[first + start : first + min(stop or length, length)]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}


def _read_header(path: Path) -> list[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _FORMAT not in metadata:
                got = ", ".join(metadata) or "nothing of the kind"
                raise MotionFileError(f"{path}: expected a shard of clips, {_FORMAT}; got {got}.")
            clips: list[Any] = json.loads(metadata[_FORMAT])
            if sum(length for _, length, _ in clips) != file.get_slice("frames").get_shape()[0]:
                raise MotionFileError(f"{path}: expected as many frames as its clips are long.")
            return clips
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise MotionFileError(f"{path}: expected a shard of clips; {error}.") from error
