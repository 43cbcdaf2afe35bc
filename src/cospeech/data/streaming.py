"""Windows that stay where they are, at a URL: a shard is fetched when a window of it is wanted.

For corpora beyond a disk. ``fsspec`` brings the bytes, from http, s3, gs, hf, a local folder and more; they are held
against the index's SHA-256 before anything looks into them. A URL may hold WebDataset tars (``write_tars``, or any
program's) or the safetensors shards of ``prepare``; both are read here, and the index says which. A tar goes through
WebDataset's reader once, into a memory-mapped file that all processes of the machine share. So windows may be read in
any order, the order stays what ``ShardOrder`` says, and a resumed training fetches the shards of its next windows only.
WebDataset's own pipeline cannot resume exactly: its position lies in iterators and in buffers of shuffled samples.

Both kinds stay because each has its use. Tars are what other programs read and write. Shards hold each frame once: a
third of the bytes at ``stride = window / 3``, and four times as many windows a second while they are fetched
(``tests/benchmarks/bench_loader.py``); once here, both are read equally fast.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cospeech._extras import require
from cospeech.data.beat2 import MotionWindow
from cospeech.data.prepare import shard_index
from cospeech.data.shards import WindowShard
from cospeech.data.webdataset import is_tar_index, iter_tar, parse_tar_index
from cospeech.errors import MissingExtraError, MotionFileError
from cospeech.io import atomic_path

__all__ = ["RemoteWindows"]

_BLOCK, _MOST_INDEX = 1 << 20, 64 << 20
_PAUSES = (1.0, 10.0)  # seconds, between one try to fetch a shard and the next


class RemoteWindows:
    """The windows of a folder at a URL; a data set like ``WindowShards``.

    Safe to copy to worker processes, and to use from several processes with one cache.

    Args:
        url: Of what ``prepare``, ``write_tars`` or ``index_tars`` left, such as ``https://...`` or ``s3://...``.
        cache: Local folder for fetched shards.
        cache_bytes: How much may lie in it: beyond that, those used longest ago go. It should hold two shards for
            each process of the machine; less is slow, not wrong.
        most_bytes: Of one shard; larger ones are refused.

    Raises:
        MissingExtraError: If fsspec is not installed, or webdataset where tars are read.
        MotionFileError: If there is no index, or it is not one of windows.
    """

    def __init__(
        self, url: str, cache: str | os.PathLike[str], *, cache_bytes: int = 10 << 30, most_bytes: int = 4 << 30
    ):
        self.url, self.cache, self.cache_bytes = url.rstrip("/"), Path(cache), cache_bytes
        self.cache.mkdir(parents=True, exist_ok=True)
        text = b"".join(self._blocks("index.json", _MOST_INDEX)).decode("utf-8", errors="replace")
        self._fields, self._shards = _index(text, most_bytes)
        self._ends: list[int] = []
        for shard in self._shards:
            self._ends.append(shard.windows + (self._ends[-1] if self._ends else 0))
        self._open: OrderedDict[int, WindowShard | _Unpacked] = OrderedDict()

    @property
    def shard_sizes(self) -> list[int]:
        """Windows of each shard."""
        return [shard.windows for shard in self._shards]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> MotionWindow:
        """One window; its shard is fetched if it is not here.

        Raises:
            IndexError: If there is none of this number.
            MotionFileError: If a shard cannot be fetched, is not the one of the index, or holds something else.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must lie in {-len(self)}..{len(self) - 1}; got {index}.")
        index %= len(self)
        number = bisect.bisect_right(self._ends, index)
        return self._shard(number).read(index - (self._ends[number - 1] if number else 0))

    def batch(self, indices: Sequence[int]) -> MotionWindow:
        """Several windows, stacked along a new first axis."""
        windows = [self[index] for index in indices]
        return MotionWindow(*(torch.stack(tensors) for tensors in zip(*windows, strict=True)))

    def _shard(self, number: int) -> WindowShard | _Unpacked:
        if number not in self._open:
            shard = self._shards[number]
            path = self.cache / f"{shard.sha256}.safetensors"
            filelock: Any = require("filelock", extra="stream", purpose="Sharing fetched shards")
            with filelock.FileLock(self.cache / f"{shard.sha256[0]}.lock"):  # sixteen locks, not one for each shard
                if not path.exists():
                    self._fetch(shard, path)
                    self._make_room(path)
                os.utime(path)  # used now
                self._open[number] = _Unpacked(path) if self._fields else WindowShard.open(path)
            while len(self._open) > 4:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def _fetch(self, shard: _Shard, path: Path) -> None:
        fetched = path.with_suffix(".fetched")  # a name that the lock guards, so what a kill leaves is written over
        try:
            self._copy(shard, fetched)
            if self._fields:
                with atomic_path(path) as unfinished:
                    _unpack(fetched, self._fields, shard.windows, unfinished)
            else:
                os.replace(fetched, path)
        except MotionFileError as error:
            raise MotionFileError(f"{self.url}/{shard.name}: {error}") from error
        finally:
            fetched.unlink(missing_ok=True)

    def _copy(self, shard: _Shard, path: Path) -> None:
        for pause in (*_PAUSES, None):  # a training of days shall not end with one lost connection
            try:
                digest = hashlib.sha256()
                with path.open("wb") as file:
                    for block in self._blocks(shard.name, shard.most_bytes):
                        digest.update(block)
                        file.write(block)
                if digest.hexdigest() != shard.sha256:
                    raise MotionFileError("it is not what the index names; was it cut off?")
                return
            except MotionFileError:
                if pause is None:
                    raise
                time.sleep(pause)

    def _make_room(self, newest: Path) -> None:
        """Remove what was used longest ago; who has such a file open keeps what it reads."""
        held = []
        for path in self.cache.glob("*.safetensors"):
            if re.fullmatch(r"[0-9a-f]{64}", path.stem) and path != newest:
                with suppress(FileNotFoundError):  # another process may be at it too
                    held.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        room = self.cache_bytes - newest.stat().st_size
        for _, size, path in sorted(held, reverse=True):
            room -= size
            if room < 0:
                path.unlink(missing_ok=True)

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """A file's content; at most ``most`` bytes of it."""
        fsspec = require("fsspec", extra="stream", purpose="Reading windows at a URL")
        # Plain http servers do not know ranges, which fsspec would else ask for.
        options = {"block_size": 0} if self.url.startswith(("http://", "https://")) else {}
        try:
            with fsspec.open(f"{self.url}/{name}", "rb", **options) as file:
                while most > 0 and (block := file.read(min(_BLOCK, most))):
                    most -= len(block)
                    yield block
        except MissingExtraError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise MotionFileError(
                f"{name} cannot be fetched from {self.url}: {type(error).__name__}: {error}."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}


class _Shard(NamedTuple):
    name: str
    windows: int
    sha256: str
    most_bytes: int


class _Unpacked:
    """A tar's windows, each field stacked in a memory-mapped file."""

    def __init__(self, path: Path):
        self._file: Any = safe_open(path, framework="pt")

    def read(self, row: int) -> MotionWindow:
        """Window ``row``."""
        return MotionWindow(**{name: self._file.get_slice(name)[row : row + 1][0] for name in MotionWindow._fields})


def _index(text: str, most_bytes: int) -> tuple[dict[str, tuple[int, ...]], list[_Shard]]:
    """Shapes of the fields of tars, {} for shards; and what is listed."""
    if is_tar_index(text):
        require("webdataset", extra="stream", purpose="Reading WebDataset tars")
        index = parse_tar_index(text)
        for entry in index.shardlist:
            if entry.filesize > most_bytes:
                raise MotionFileError(f"{entry.url} has {entry.filesize} bytes; at most {most_bytes} are taken.")
        return index.fields, [_Shard(e.url, e.nsamples, e.sha256, e.filesize) for e in index.shardlist]
    shards = [_Shard(s["file"], s["windows"], s["sha256"], most_bytes) for s in shard_index(text)]
    if not shards:
        raise MotionFileError("The index lists no shards.")
    if not all(re.fullmatch(r"[0-9a-f]{64}", shard.sha256) for shard in shards):
        raise MotionFileError("The index must give the SHA-256 of each shard.")
    return {}, shards


def _unpack(tar: Path, fields: dict[str, tuple[int, ...]], windows: int, path: Path) -> None:
    # An index whose windows are larger than their tar was refused, and the tar is the one of the index.
    kinds = {name: torch.int64 if name == "speaker" else torch.float32 for name in fields}
    tensors = {name: torch.empty(windows, *fields[name], dtype=kinds[name]) for name in fields}
    count = 0
    for count, sample in enumerate(iter_tar(tar, fields), start=1):
        if count > windows:
            break
        for name, array in sample.items():
            tensors[name].numpy()[count - 1] = array
    if count != windows:
        found = "more" if count > windows else count
        raise MotionFileError(f"by the index {windows} windows are in it; there are {found}.")
    save_file(tensors, path)
