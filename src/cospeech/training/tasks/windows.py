"""Windows of motion and speech for tasks: prepared where missing, some of them held out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cospeech.data import MotionWindow, WindowShards
from cospeech.data.beat import BeatSource
from cospeech.data.beat_retargeted import BeatRetargeted
from cospeech.data.hearing import feature_dim
from cospeech.data.prepare import PreparedReport, WindowMaker, prepare
from cospeech.data.sources import Beat2Source, FilesSource, NpzFolderSource, ProceduralSource, Source
from cospeech.data.streaming import RemoteWindows
from cospeech.data.webdataset_writing import write_tars
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import SMPLX, global_to_local

__all__ = ["HeldWindows", "SourceChoice", "WindowData", "local_axis_angle", "main_process_first", "say_mean"]


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
            name of another split of BEAT2 or BEAT, such as "val". For a stream "none", or the URL of held-out windows.
        prepare_workers: Processes that prepare.
        takes_per_shard: Takes in one file.
        tars: Folder where windows are written as WebDataset too, in ``train`` and ``held-out``; "" for none.
        windows_per_tar: Windows in one of these.
        stream: Whether ``prepared`` is a URL, of shards or of tars, that are fetched as they are needed.
        cache: Local folder for what is fetched.
        cache_gigabytes: Of it at most; two shards or tars for each process of a machine should have room.
    """

    prepared: str
    source: SourceChoice | None = None
    cut: WindowMaker = field(default_factory=WindowMaker)
    held_out: str = "tenths"
    prepare_workers: int = 0
    takes_per_shard: int = 16
    tars: str = ""
    windows_per_tar: int = 512
    stream: bool = False
    cache: str = "runs/data/fetched"
    cache_gigabytes: float = 10.0

    def __post_init__(self) -> None:
        if self.stream and (self.held_out == "tenths" or self.tars):
            raise ValueError("`held_out` must be none or a URL for a stream, and `tars` empty")
        if not self.stream and self.source is None:
            raise ValueError("a table `source` is wanted, or `stream`")
        if not self.stream and self.source is not None and self.held_out not in ("none", "tenths"):
            self.source.with_split(self.held_out)  # raises where there are no splits

    def prepare(self) -> dict[str, PreparedReport]:
        """Make what is missing; what came of it, by folder."""
        if self.source is None or self.stream:
            return {}
        sources = {self.prepared: self.source.source}
        if self.held_out not in ("none", "tenths"):
            sources[self._held_folder] = self.source.with_split(self.held_out).source
        size, workers = self.takes_per_shard, self.prepare_workers
        reports = {f: prepare(s, f, self.cut, takes_per_shard=size, workers=workers) for f, s in sources.items()}
        return reports | (self._write_tars(reports) if self.tars else {})

    def open(self) -> HeldWindows:
        """The windows, prepared where missing."""
        if self.stream:
            far, most = RemoteWindows, int(self.cache_gigabytes * 2**30)
            train = far(self.prepared, self.cache, cache_bytes=most)
            held = train if self.held_out == "none" else far(self.held_out, self.cache, cache_bytes=most)
            held_rows = range(0 if held is train else len(held))
            return HeldWindows(train, range(len(train)), held, held_rows, shard_sizes=tuple(train.shard_sizes))
        main_process_first(self.prepare)
        return self._prepared()

    def _prepared(self) -> HeldWindows:
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
        changes: dict[str, Any] = {"source": source, "cut": cut, "held_out": "none", "prepare_workers": 0}
        changes |= {"prepared": str(folder / "windows"), "stream": False, "tars": ""}
        return dataclasses.replace(self, **changes)

    def fingerprint(self) -> str:
        """Sixteen letters that change whenever the prepared windows or their order do.

        Raises:
            OSError: If they are not prepared.
            ValueError: If they are a stream.
        """
        if self.stream:
            raise ValueError("`stream` must be false for a task that needs all windows at hand, such as disco.")
        folders = [self.prepared] if self.held_out in ("none", "tenths") else [self.prepared, self._held_folder]
        digest = hashlib.sha256(self.held_out.encode())
        for folder in folders:  # the index has settings, and the SHA-256 of each shard
            digest.update((Path(folder) / "index.json").read_bytes())
        return digest.hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """A local folder for what is made of these windows, such as their mean."""
        if not self.stream:
            return Path(self.prepared)
        return Path(self.cache) / f"made-{hashlib.sha256(self.prepared.encode()).hexdigest()[:16]}"

    def _write_tars(self, reports: Mapping[str, PreparedReport]) -> dict[str, PreparedReport]:
        windows, written = self._prepared(), {}
        takes = {Path(folder): report.takes for folder, report in reports.items()}
        # Learnt from in an order drawn by chance, since readers shuffle no more than a few tars together.
        shuffled = torch.randperm(windows.num_items, generator=torch.Generator().manual_seed(0)).tolist()
        rows = [windows.train_rows[item] for item in shuffled]
        for name, found, numbers in (("train", windows.train, rows), ("held-out", windows.held, windows.held_rows)):
            if numbers:
                assert isinstance(found, WindowShards)
                folder, size = str(Path(self.tars) / name), self.windows_per_tar
                made = write_tars(found, numbers, folder, windows_per_tar=size, workers=self.prepare_workers)
                written[folder] = PreparedReport(len(numbers), takes[found.folder], {}, made)
        return written

    @property
    def _held_folder(self) -> str:
        return f"{self.prepared}-{self.held_out}"


class HeldWindows:
    """Windows to learn from, numbered from 0, and behind them the held-out ones."""

    def __init__(
        self,
        train: WindowShards | RemoteWindows,
        train_rows: Sequence[int],
        held: WindowShards | RemoteWindows,
        held_rows: Sequence[int],
        *,
        shard_sizes: tuple[int, ...] = (),
    ):
        self.train, self.train_rows, self.held, self.held_rows = train, train_rows, held, held_rows
        self.shard_sizes = shard_sizes
        self.num_items, self.num_held_out = len(train_rows), len(held_rows)

    def few(self, count: int) -> Sequence[int]:
        """About ``count`` items that stand for all: spread over them, or of a stream the first, which lie together."""
        if self.shard_sizes:
            return range(min(count, self.num_items))
        return range(0, self.num_items, max(1, self.num_items // count))

    def batch(self, items: Sequence[int]) -> MotionWindow:
        """Windows, stacked; all of them to learn from, or all held out."""
        if items[0] < self.num_items:
            return self.train.batch([self.train_rows[item] for item in items])
        return self.held.batch([self.held_rows[item - self.num_items] for item in items])


def local_axis_angle(window: MotionWindow) -> Tensor:
    """Rotations in the parents' frames, radians, ``(B, T, J, 3)``."""
    return matrix_to_axis_angle(global_to_local(axis_angle_to_matrix(window.axis_angle), SMPLX))


@torch.no_grad()
def say_mean(head: nn.Linear, mean: Tensor) -> None:
    """Have a last layer begin by saying nearly ``mean``, whatever comes in; short trainings want that."""
    head.bias.copy_(mean)
    head.weight.mul_(0.1)


def main_process_first(work: Callable[[], object]) -> None:
    """Call ``work`` in the first process of all machines, which share a folder; the others go on when it is done."""
    if int(os.environ.get("RANK", "0")) == 0:
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
