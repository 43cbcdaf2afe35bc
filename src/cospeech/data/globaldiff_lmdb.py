"""The LMDB that GlobalDiff's published scripts write, read as windows; needs the extra ``data``.

An entry is a float32 row: betas 300, poses 60 x 165, expressions 60 x 100, translation 60 x 3, semantic 60, speaker 1,
audio 32,000; its sizes stand in the data base as decimal text. Speech features lie in a second data base under the same
keys. Nothing in either is a pickle.

To train, convert once: ``write_shards`` keeps overlapping frames once, in a fifth of the space.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from cospeech._extras import require
from cospeech.data.beat2 import MotionWindow
from cospeech.errors import MotionFileError

__all__ = ["GlobalDiffLMDB"]


class GlobalDiffLMDB:
    """Windows of a published data base, in its order; a context manager.

    Args:
        path: The data base, such as ``train_seq_size_60_stride_size_20_global.lmdb``.
        features: That of the speech features, such as ``..._global_wavlm.lmdb``, if there is one.

    Raises:
        MissingExtraError: If lmdb is not installed.
        MotionFileError: If it is no such data base.
    """

    def __init__(self, path: str | os.PathLike[str], features: str | os.PathLike[str] | None = None):
        lmdb = require("lmdb", extra="data", purpose="Reading GlobalDiff's data base")
        self.path = Path(path)
        self._environments = [_open(lmdb, Path(source)) for source in (path, features) if source is not None]
        self._transactions = [environment.begin() for environment in self._environments]
        try:
            self._length = self._number("num")
            names = ("betas_shape", "poses_shape", "expressions_shape", "trans_shape", "sem_shape", "seq_size")
            betas, poses, expressions, trans, sem, self.window_frames = (self._number(name) for name in names)
        except MotionFileError:
            self.close()
            raise
        frames = self.window_frames
        self._widths = [betas, frames * poses, frames * expressions, frames * trans, frames * sem, 1]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> MotionWindow:
        """One window.

        Raises:
            IndexError: If there is none of this number.
            MotionFileError: If its entry is missing or too short.
        """
        row = self._row(index, 0)
        if len(row) <= sum(self._widths):
            raise MotionFileError(f"{self.path}: entry {index} is too short; got {len(row)} numbers.")
        _, poses, expressions, translation, semantic, speaker, waveform = torch.split(
            row, [*self._widths, len(row) - sum(self._widths)]
        )
        frames = self.window_frames
        heard = len(self._transactions) > 1
        return MotionWindow(
            axis_angle=poses.reshape(frames, -1, 3),
            translation=translation.reshape(frames, 3),
            expressions=expressions.reshape(frames, -1),
            semantic=semantic.reshape(frames, -1)[:, 0],
            waveform=waveform,
            speaker=speaker[0].long(),
            features=self._row(index, 1).reshape(frames, -1) if heard else torch.zeros(frames, 0),
        )

    def betas(self, index: int) -> Tensor:
        """Body shape of a window's speaker, ``(300,)``."""
        return self._row(index, 0)[: self._widths[0]]

    def file_name(self, index: int) -> str:
        """The motion file that a window was cut from."""
        return self._get(f"{self._key(index)}f", 0).decode()

    def close(self) -> None:
        """Close the data bases."""
        for transaction, environment in zip(self._transactions, self._environments, strict=True):
            transaction.abort()
            environment.close()
        self._transactions, self._environments = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, index: int) -> str:
        if not 0 <= index < self._length:
            raise IndexError(f"`index` must lie in 0..{self._length - 1}; got {index}.")
        return f"{index:010d}"

    def _row(self, index: int, source: int) -> Tensor:
        return torch.from_numpy(np.frombuffer(self._get(self._key(index), source), dtype="<f4").copy())

    def _number(self, name: str) -> int:
        text = self._get(name, 0)
        if not text.isdigit():
            raise MotionFileError(f"{self.path}: expected a number under {name!r}; got {text[:20]!r}.")
        return int(text)

    def _get(self, key: str, source: int) -> bytes:
        value: bytes | None = self._transactions[source].get(key.encode())
        if value is None:
            raise MotionFileError(f"{self.path}: expected GlobalDiff's data base; the key {key!r} is missing.")
        return value


def _open(lmdb: Any, path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(f"No data base {path}.")
    try:
        return lmdb.open(os.fspath(path), readonly=True, lock=False, readahead=False, subdir=path.is_dir())
    except lmdb.Error as error:
        raise MotionFileError(f"{path}: expected an LMDB data base; {error}.") from error
