"""Windows of motion and speech in memory-mapped safetensors files: nothing is executed, nothing is read twice.

A shard holds some recordings, each frame and sample once although windows overlap, and a table of where windows start.
Reading a window touches its own pages only, so a data set may be larger than memory and shared by many workers.
"""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cospeech.audio import frames_to_samples
from cospeech.data.beat2 import FRAME_RATE_HZ, SAMPLE_RATE_HZ, MotionWindow, Recording, window_starts
from cospeech.errors import MotionFileError
from cospeech.io import atomic_path

__all__ = ["WindowShard", "WindowShards", "write_shard", "write_shards"]

_FORMAT = "cospeech-windows-1"
_FRAMEWISE = ("axis_angle", "translation", "expressions", "semantic")


def write_shards(
    recordings: Iterable[Recording],
    folder: str | os.PathLike[str],
    *,
    window_frames: int = 60,
    stride_frames: int = 20,
    features: Callable[[Tensor], Tensor] | None = None,
    least_departure: float = 0.0,
    shard_frames: int = 200_000,
) -> int:
    """Cut recordings into windows and store them.

    Args:
        recordings: See ``iter_recordings``; one at a time is held in memory, and one shard.
        folder: Where to; made if missing, and refused if shards are there already.
        window_frames: Frames of a window.
        stride_frames: From one window to the next.
        features: Makes features ``(W, T, C)`` of the windows ``(W, S)`` of a recording, for example
            ``cospeech.data.FeatureCache``; none are stored by default.
        least_departure: Windows whose mean ``departure`` is smaller, degrees, are left out.
        shard_frames: A shard is closed once it holds so many frames; the default is about 300 MB with its audio.

    Returns:
        The number of windows.

    Raises:
        FileExistsError: If the folder holds shards.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.safetensors")):
        raise FileExistsError(f"{folder} holds shards already; choose another folder or remove them.")
    settings: dict[str, float] = {"window_frames": window_frames, "stride_frames": stride_frames}
    total, number, held, frames = 0, 0, list[_Piece](), 0
    for recording in recordings:
        piece = _cut(recording, window_frames, stride_frames, features, least_departure)
        held, frames, total = [*held, piece], frames + len(recording.translation), total + len(piece.starts)
        if frames >= shard_frames:
            _write(held, folder / f"{number:05d}.safetensors", settings)
            number, held, frames = number + 1, [], 0
    if held:
        _write(held, folder / f"{number:05d}.safetensors", settings)
    return total


def write_shard(
    recordings: Iterable[Recording],
    path: str | os.PathLike[str],
    *,
    window_frames: int = 60,
    stride_frames: int = 20,
    features: Callable[[Tensor], Tensor] | None = None,
    least_departure: float = 0.0,
) -> int:
    """Cut recordings into windows and store them in one file, which appears whole or not at all.

    Arguments as for ``write_shards``; nothing is written where no window fits.

    Returns:
        The number of windows.
    """
    pieces = [_cut(recording, window_frames, stride_frames, features, least_departure) for recording in recordings]
    _write(pieces, Path(path), {"window_frames": window_frames, "stride_frames": stride_frames})
    return sum(len(piece.starts) for piece in pieces)


class WindowShards:
    """The windows of a folder of shards; a data set for ``torch.utils.data.DataLoader``.

    Safe to copy to worker processes: files are opened where they are read.

    Args:
        folder: What ``write_shards`` wrote.

    Raises:
        MotionFileError: If there are no shards, or one of them is damaged or of another kind.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        paths = sorted(self.folder.glob("*.safetensors"))
        if not paths:
            raise MotionFileError(f"{self.folder} holds no shards; see cospeech.data.write_shards.")
        self.shards = [_open(path) for path in paths]
        if len({(shard.window_frames, shard.window_samples) for shard in self.shards}) > 1:
            raise MotionFileError(f"{self.folder} holds shards with windows of different lengths.")
        self._ends: list[int] = []
        for shard in self.shards:
            self._ends.append(len(shard.windows) + (self._ends[-1] if self._ends else 0))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> MotionWindow:
        """One window.

        Raises:
            IndexError: If there is none of this number.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must lie in {-len(self)}..{len(self) - 1}; got {index}.")
        index %= len(self)
        number = bisect.bisect_right(self._ends, index)
        return self.shards[number].read(index - (self._ends[number - 1] if number else 0))

    def batch(self, indices: Sequence[int]) -> MotionWindow:
        """Several windows, stacked along a new first axis."""
        windows = [self[index] for index in indices]
        return MotionWindow(*(torch.stack(tensors) for tensors in zip(*windows, strict=True)))

    def recording(self, index: int) -> str:
        """The name of the recording that a window comes from."""
        number = bisect.bisect_right(self._ends, index)
        shard = self.shards[number]
        row = index - (self._ends[number - 1] if number else 0)
        return shard.names[int(shard.windows[row, 2])]


class _Piece(NamedTuple):
    """A recording, its windows' first frames, and their features."""

    recording: Recording
    starts: Sequence[int]
    features: Tensor


class WindowShard:
    """One file; its table is kept in memory, all else is read as asked for. Made by ``open``."""

    @classmethod
    def open(cls, path: Path) -> WindowShard:
        """The shard in a file.

        Raises:
            MotionFileError: If it is damaged or of another kind.
        """
        return _open(path)

    def __init__(self, path: Path, windows: Tensor, metadata: dict[str, Any]):
        self.path, self.windows = path, windows
        self.window_frames = int(metadata["window_frames"])
        self.rate_hz = float(metadata.get("rate_hz", FRAME_RATE_HZ))
        self.window_samples = _samples(self.window_frames, self.rate_hz)
        self.names: list[str] = metadata["names"]
        self._file: Any = None

    def read(self, row: int) -> MotionWindow:
        """Window ``row``."""
        frame, sample, _, speaker = self.windows[row].tolist()
        if self._file is None:
            self._file = safe_open(self.path, framework="pt")
        slices = {name: self._file.get_slice(name)[frame : frame + self.window_frames] for name in _FRAMEWISE}
        return MotionWindow(
            **slices,
            waveform=self._file.get_slice("waveform")[sample : sample + self.window_samples],
            speaker=torch.tensor(speaker),
            features=self._file.get_slice("features")[row : row + 1][0],
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}


def _samples(num_frames: int, frame_rate_hz: float) -> int:
    return frames_to_samples(num_frames, rate_hz=SAMPLE_RATE_HZ, frame_rate_hz=frame_rate_hz)


def _cut(
    recording: Recording,
    window_frames: int,
    stride_frames: int,
    features: Callable[[Tensor], Tensor] | None,
    least_departure: float,
) -> _Piece:
    starts: Sequence[int] = window_starts(
        len(recording.translation), window_frames=window_frames, stride_frames=stride_frames
    )
    if recording.departure is not None:
        departure = recording.departure
        starts = [s for s in starts if float(departure[s : s + window_frames].mean()) >= least_departure]
    if features is None or not len(starts):
        return _Piece(recording, starts, torch.zeros(len(starts), window_frames, 0))
    length = _samples(window_frames, recording.rate_hz)
    firsts = [_samples(start, recording.rate_hz) for start in starts]
    return _Piece(recording, starts, features(torch.stack([recording.waveform[s : s + length] for s in firsts])))


def _write(pieces: Sequence[_Piece], path: Path, settings: dict[str, float]) -> None:
    pieces = [piece for piece in pieces if len(piece.starts)]
    if not pieces:
        return
    rates = {piece.recording.rate_hz for piece in pieces}
    if len(rates) > 1:
        raise ValueError(
            f"`recordings` must share one frame rate; got {', '.join(f'{r:g}' for r in sorted(rates))} Hz."
        )
    rate_hz = rates.pop()
    rows, frame, sample = [], 0, 0
    for number, (recording, starts, _) in enumerate(pieces):
        rows += [(frame + start, sample + _samples(start, rate_hz), number, recording.speaker) for start in starts]
        frame += len(recording.translation)
        sample += len(recording.waveform)
    tensors = {
        name: torch.cat([getattr(piece.recording, name) for piece in pieces]) for name in (*_FRAMEWISE, "waveform")
    }
    tensors["features"] = torch.cat([piece.features for piece in pieces])
    tensors["betas"] = torch.stack([piece.recording.betas for piece in pieces])
    tensors["windows"] = torch.tensor(rows)
    names = [piece.recording.name for piece in pieces]
    # One entry alone: several come in another order in each process, and equal shards shall be equal files.
    metadata = {_FORMAT: json.dumps(settings | {"rate_hz": rate_hz, "names": names})}
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=metadata)


def _open(path: Path) -> WindowShard:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _FORMAT not in metadata:
                got = ", ".join(metadata) or "nothing of the kind"
                raise MotionFileError(f"{path}: expected a shard of windows, {_FORMAT}; got {got}.")
            return WindowShard(path, file.get_tensor("windows").clone(), json.loads(metadata[_FORMAT]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise MotionFileError(f"{path}: expected a shard of windows; {error}.") from error
