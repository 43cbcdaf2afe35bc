"""Prepared shards that stay where they are, at a URL: fetched when a window of theirs is wanted, a few kept at a time.

For corpora beyond a disk. ``fsspec`` reads http, s3, gs, hf and more. Each fetched shard is held against the SHA-256 of
the index before it is opened. Learn from it in ``ShardOrder``, which visits shards one after another: in the order of
single windows every batch would want other shards.
"""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cospeech._extras import require
from cospeech.data.beat2 import MotionWindow
from cospeech.data.prepare import file_digest, shard_index
from cospeech.data.shards import WindowShard
from cospeech.errors import MotionFileError
from cospeech.io import atomic_path

__all__ = ["RemoteShards"]


class RemoteShards:
    """The windows of a prepared folder at a URL; a data set like ``WindowShards``.

    Safe to copy to worker processes, which share the cache.

    Args:
        url: Of the folder that ``cospeech.data.prepare`` wrote, such as ``https://...`` or ``s3://...``.
        cache: Local folder for fetched shards.
        most: How many shards of this process stay in it.

    Raises:
        MissingExtraError: If fsspec is not installed.
        MotionFileError: If there is no index.
    """

    def __init__(self, url: str, cache: str | os.PathLike[str], *, most: int = 4):
        self.url, self.cache, self.most = url.rstrip("/"), Path(cache), most
        self.cache.mkdir(parents=True, exist_ok=True)
        self.shards = shard_index(self._read("index.json").decode())
        if not self.shards:
            raise MotionFileError(f"{url}: the index lists no shards.")
        self._ends: list[int] = []
        for shard in self.shards:
            self._ends.append(shard["windows"] + (self._ends[-1] if self._ends else 0))
        self._open: OrderedDict[int, WindowShard] = OrderedDict()

    @property
    def shard_sizes(self) -> list[int]:
        """Windows of each shard."""
        return [shard["windows"] for shard in self.shards]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> MotionWindow:
        """One window; its shard is fetched if it is not here.

        Raises:
            IndexError: If there is none of this number.
            MotionFileError: If a shard cannot be fetched, or is not the one of the index.
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

    def _shard(self, number: int) -> WindowShard:
        if number not in self._open:
            path = self.cache / str(self.shards[number]["file"])
            if file_digest(path) != self.shards[number]["sha256"]:
                self._fetch(number, path)
            self._open[number] = WindowShard.open(path)
            while len(self._open) > self.most:
                _, old = self._open.popitem(last=False)
                old.path.unlink(missing_ok=True)
        self._open.move_to_end(number)
        return self._open[number]

    def _fetch(self, number: int, path: Path) -> None:
        content = self._read(path.name)
        with atomic_path(path) as unfinished:
            unfinished.write_bytes(content)
        if file_digest(path) != self.shards[number]["sha256"]:
            path.unlink()
            raise MotionFileError(f"{self.url}/{path.name} is not the shard that the index names; was it cut off?")

    def _read(self, name: str) -> bytes:
        fsspec = require("fsspec", extra="stream", purpose="Reading shards at a URL")
        try:
            with fsspec.open(f"{self.url}/{name}", "rb") as file:
                content: bytes = file.read()
                return content
        except (OSError, ValueError) as error:
            raise MotionFileError(f"{self.url}/{name} cannot be fetched: {error}.") from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": OrderedDict()}
