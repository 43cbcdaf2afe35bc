"""Windows of motion and speech for tasks: prepared where missing, some of them held out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cospeech.data import MotionWindow, WindowShards
from cospeech.data.beat import BeatSource
from cospeech.data.beat_retargeted import BeatRetargeted
from cospeech.data.hearing import feature_dim
from cospeech.data.prepare import PreparedReport, WindowMaker, prepare
from cospeech.data.sources import Beat2Source, FilesSource, NpzFolderSource, ProceduralSource, Source
from cospeech.data.streaming import RemoteShards
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, global_to_local

__all__ = ["HeldWindows", "SourceChoice", "WindowData", "local_axis_angle", "main_process_first"]


_SOURCES = ("beat2", "beat", "npz_folder", "files", "procedural")


@dataclass(frozen=True, kw_only=True)
class SourceChoice:
    """One source of recordings, the table of a recipe that is there.

    Attributes:
        beat2: A BEAT2 folder.
        beat: A BEAT folder, version 1: 15 Hz, 47 joints, ARKit weights.
        npz_folder: A folder of clips.
        files: Single takes.
        procedural: The procedural corpus.
        retarget: "beat" puts takes of SMPL-X on BEAT's skeleton, at its rate, so that they can stand in for it.
    """

    beat2: Beat2Source | None = None
    beat: BeatSource | None = None
    npz_folder: NpzFolderSource | None = None
    files: FilesSource | None = None
    procedural: ProceduralSource | None = None
    retarget: Literal["", "beat"] = ""

    def __post_init__(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"one table of {', '.join(_SOURCES[:-1])} and {_SOURCES[-1]} is wanted; got "
                + (", ".join(given) or "none")
            )
        if self.beat and self.retarget:
            raise ValueError("`retarget` must not be set for beat, whose skeleton it is already")

    @property
    def source(self) -> Source:
        """The one that is there."""
        choice: Source = next(filter(None, (getattr(self, name) for name in _SOURCES)))
        return BeatRetargeted(choice) if self.retarget else choice

    def with_split(self, split: str) -> SourceChoice:
        """The same data set's other split.

        Raises:
            ValueError: If the source has no splits.
        """
        if self.beat2:
            return dataclasses.replace(self, beat2=dataclasses.replace(self.beat2, split=split))
        if self.beat and self.beat.split:
            return dataclasses.replace(self, beat=dataclasses.replace(self.beat, split=split))
        raise ValueError(
            f"`held_out` must be none or tenths, or another split where the source has one; got {split!r}."
        )


@dataclass(frozen=True, kw_only=True)
class WindowData:
    """Windows of a source.

    Attributes:
        prepared: Folder of the shards, made where missing.
        source: Where recordings come from.
        cut: How they are cut and heard, and which are left out.
        held_out: "none"; "tenths", the fourth and the eighth tenth of each take and nothing that touches them; or the
            name of another split of BEAT2 or BEAT, such as "val".
        prepare_workers: Processes that prepare.
        takes_per_shard: Takes in one file.
        stream: Whether ``prepared`` is a URL whose shards are fetched as they are needed; nothing is held out then.
        cache: Local folder for fetched shards.
    """

    prepared: str
    source: SourceChoice | None = None
    cut: WindowMaker = field(default_factory=WindowMaker)
    held_out: str = "tenths"
    prepare_workers: int = 0
    takes_per_shard: int = 16
    stream: bool = False
    cache: str = "runs/data/fetched"

    def __post_init__(self) -> None:
        if self.stream and self.held_out != "none":
            raise ValueError("`held_out` must be none for a stream")
        if not self.stream and self.source is None:
            raise ValueError("a table `source` is wanted, or `stream`")
        if self.source is not None and self.held_out not in ("none", "tenths"):
            self.source.with_split(self.held_out)  # raises where there are no splits

    def prepare(self) -> dict[str, PreparedReport]:
        """Make what is missing; what came of it, by folder."""
        if self.source is None:
            return {}
        sources = {self.prepared: self.source.source}
        if self.held_out not in ("none", "tenths"):
            sources[self._held_folder] = self.source.with_split(self.held_out).source
        size, workers = self.takes_per_shard, self.prepare_workers
        return {f: prepare(s, f, self.cut, takes_per_shard=size, workers=workers) for f, s in sources.items()}

    def open(self) -> HeldWindows:
        """The windows, prepared where missing."""
        if self.stream:
            far = RemoteShards(self.prepared, self.cache)
            return HeldWindows(far, range(len(far)), far, [], shard_sizes=tuple(far.shard_sizes))
        main_process_first(self.prepare)
        shards = WindowShards(self.prepared)
        if self.held_out == "none":
            return HeldWindows(shards, range(len(shards)), shards, [])
        if self.held_out == "tenths":
            train, held = _tenths(shards, self.cut)
            return HeldWindows(shards, train, shards, held)
        other = WindowShards(self._held_folder)
        return HeldWindows(shards, range(len(shards)), other, range(len(other)))

    def rehearsal(self, folder: Path, *, retarget: Literal["", "beat"] = "") -> WindowData:
        """A procedural clip or two in ``folder``, cut the same; features that want a download are silence."""
        hearing, seconds = self.cut.features, max(10.0 if retarget else 8.0, 4 * self.cut.window_frames / 30)
        if "prosody" not in hearing:
            hearing = f"silence-{feature_dim(hearing)}"
        source = SourceChoice(procedural=ProceduralSource(clips=1, seconds=seconds), retarget=retarget)
        cut = dataclasses.replace(self.cut, features=hearing, stride_frames=10)
        changes = {"source": source, "cut": cut, "held_out": "none", "prepare_workers": 0}
        return dataclasses.replace(self, prepared=str(folder / "windows"), stream=False, **changes)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Sixteen letters that change whenever the prepared windows or their order do.

        Raises:
            OSError: If they are not prepared, or far away.
        """
        folders = [self.prepared] if self.held_out in ("none", "tenths") else [self.prepared, self._held_folder]
        digest = hashlib.sha256(self.held_out.encode())
        for folder in folders:  # the index has settings, and the SHA-256 of each shard
            digest.update((Path(folder) / "index.json").read_bytes())
        return digest.hexdigest()[:16]

    @property
    def _held_folder(self) -> str:
        return f"{self.prepared}-{self.held_out}"


class HeldWindows:
    """Windows to learn from, numbered from 0, and behind them the held-out ones."""

    def __init__(
        self,
        train: WindowShards | RemoteShards,
        train_rows: Sequence[int],
        held: WindowShards | RemoteShards,
        held_rows: Sequence[int],
        *,
        shard_sizes: tuple[int, ...] = (),
    ):
        self._train, self._train_rows, self._held, self._held_rows = train, train_rows, held, held_rows
        self.shard_sizes = shard_sizes
        self.num_items, self.num_held_out = len(train_rows), len(held_rows)

    def batch(self, items: Sequence[int]) -> MotionWindow:
        """Windows, stacked; all of them to learn from, or all held out."""
        if items[0] < self.num_items:
            return self._train.batch([self._train_rows[item] for item in items])
        return self._held.batch([self._held_rows[item - self.num_items] for item in items])


def local_axis_angle(window: MotionWindow) -> Tensor:
    """Rotations in the parents' frames, radians, ``(B, T, J, 3)``."""
    return matrix_to_axis_angle(global_to_local(axis_angle_to_matrix(window.axis_angle), SMPLX))


def main_process_first(work: Callable[[], object]) -> None:
    """Call ``work`` in the first process of each machine; the others go on when it is done."""
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        work()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _tenths(shards: WindowShards, cut: WindowMaker) -> tuple[list[int], list[int]]:
    """Windows of each recording that touch no held-out one, and every ``window / 3`` frames a held-out one."""
    train, held = [], []
    names = [shards.recording(row) for row in range(len(shards))]
    first = 0
    while first < len(names):
        last = next((row for row in range(first, len(names)) if names[row] != names[first]), len(names))
        tenth = torch.arange(last - first) * 10 // (last - first)
        is_held = torch.isin(tenth, torch.tensor([3, 7]))
        reach = -(-cut.window_frames // cut.stride_frames) - 1
        places = is_held.nonzero()[:, 0]
        near = (torch.arange(last - first)[:, None] - places).abs().min(1).values <= reach if len(places) else is_held
        train += [first + row for row in (~near).nonzero()[:, 0].tolist()]
        held += [first + row for row in places[:: max(1, cut.window_frames // 3 // cut.stride_frames)].tolist()]
        first = last
    return train, held
