"""Windows to WebDataset tars, and an index for tars that another program wrote; see ``cospeech.data.webdataset``.

Tars repeat the frames that windows share, ``window / stride`` times each; shards (``cospeech.data.shards``) do not. So
shards are what a disk holds, and tars what is handed out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from cospeech._extras import require
from cospeech.data.jobs import run_jobs
from cospeech.data.prepare import file_digest
from cospeech.data.shards import WindowShards
from cospeech.data.webdataset import INDEX_KIND, TarEntry, TarIndex, iter_tar, parse_tar_index, tar_shapes
from cospeech.errors import MotionFileError
from cospeech.io import atomic_path

__all__ = ["index_tars", "write_tars"]

_OURS = re.compile(r"windows-\d{6}-[0-9a-f]{16}\.tar")


def write_tars(
    windows: WindowShards,
    rows: Sequence[int],
    folder: str | os.PathLike[str],
    *,
    windows_per_tar: int = 512,
    workers: int = 0,
    progress: bool | None = None,
) -> int:
    """Write windows as tars, those that are not there yet; tars of other windows or sizes that it made are removed.

    Args:
        windows: Prepared shards.
        rows: Numbers of the windows, in the order in which they are written. Readers shuffle within a few tars, so
            windows to learn from should come here in an order drawn by chance.
        folder: Where to; made if missing.
        windows_per_tar: A window of 2 s takes 0.2 MB.
        workers: Processes; 0 works here.
        progress: Whether to draw a bar; None draws one on a terminal only.

    Returns:
        The number of tars that were made; the others were there.

    Raises:
        MissingExtraError: If webdataset is not installed.
        ValueError: If there are no windows.
    """
    require("webdataset", extra="stream", purpose="Writing WebDataset tars")
    if not rows:
        raise ValueError("`rows` must name windows; got none.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = [INDEX_KIND, *(f"{shard.path.name} {file_digest(shard.path)}" for shard in windows.shards)]
    jobs = []
    for number, first in enumerate(range(0, len(rows), windows_per_tar)):
        chosen = tuple(rows[first : first + windows_per_tar])
        key = hashlib.sha256("\n".join([*state, str(first), *map(str, chosen)]).encode()).hexdigest()[:16]
        jobs.append(_Job(windows, chosen, folder / f"windows-{number:06d}-{key}.tar", first))
    before = {entry.url: entry for entry in _index_there(folder)}
    missing = [job for job in jobs if not job.path.exists() or job.path.name not in before]
    made = sum(not job.path.exists() for job in missing)
    found = before | {e.url: e for e in run_jobs(_write_tar, missing, workers=workers, progress=progress, unit="tars")}
    wanted = {job.path.name for job in jobs}
    for path in folder.glob("windows-*.tar"):
        if _OURS.fullmatch(path.name) and path.name not in wanted:
            path.unlink()
    fields = {name: tuple(value.shape) for name, value in windows[rows[0]]._asdict().items()}
    _write_index(folder, TarIndex(fields, tuple(found[job.path.name] for job in jobs)))
    return made


def index_tars(folder: str | os.PathLike[str]) -> TarIndex:
    """Index the tars of a folder, made by any program that writes WebDataset with the fields above.

    Each must be uncompressed and hold windows of one shape, float32, and ``speaker`` int64.

    Raises:
        MissingExtraError: If webdataset is not installed.
        MotionFileError: If there are no tars, or one is damaged or of another kind.
    """
    folder, entries, fields = Path(folder), list[TarEntry](), dict[str, tuple[int, ...]]()
    for path in sorted(folder.glob("*.tar")):
        fields = fields or tar_shapes(path)
        count = sum(1 for _ in iter_tar(path, fields))
        entries.append(TarEntry(path.name, count, path.stat().st_size, file_digest(path)))
    if not entries:
        raise MotionFileError(f"{folder} holds no tars.")
    index = TarIndex(fields, tuple(entries))
    _write_index(folder, index)
    return index


class _Job(NamedTuple):
    windows: WindowShards
    rows: tuple[int, ...]
    path: Path
    first: int


def _write_tar(job: _Job) -> TarEntry:
    if not job.path.exists():  # tars appear whole, under a name that says what is in them
        webdataset = require("webdataset", extra="stream", purpose="Writing WebDataset tars")
        fixed = {"encoder": False, "compress": False, "mtime": 0, "user": "", "group": ""}  # equal tars, equal bytes
        with atomic_path(job.path) as unfinished, unfinished.open("wb") as file:
            writer = webdataset.TarWriter(file, **fixed)
            for number, row in enumerate(job.rows, start=job.first):
                members = {f"{name}.npy": _npy(value) for name, value in job.windows[row]._asdict().items()}
                writer.write({"__key__": f"{number:09d}", **members})
            writer.close()
    return TarEntry(job.path.name, len(job.rows), job.path.stat().st_size, file_digest(job.path))


def _npy(value: Tensor) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, value.contiguous().numpy(), version=(1, 0), allow_pickle=False)
    return content.getvalue()


def _index_there(folder: Path) -> Sequence[TarEntry]:
    try:
        return parse_tar_index((folder / "index.json").read_text(encoding="utf-8")).shardlist
    except (OSError, MotionFileError):
        return ()


def _write_index(folder: Path, index: TarIndex) -> None:
    value = {"__kind__": INDEX_KIND, "wids_version": 1, "fields": index.fields}
    value["shardlist"] = [entry._asdict() for entry in index.shardlist]
    with atomic_path(folder / "index.json") as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
