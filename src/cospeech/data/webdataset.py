"""Windows as WebDataset: plain tars of one sample a window, and an index that says what each tar must be.

A sample is ``KEY.axis_angle.npy``, ``KEY.translation.npy`` and so on, one member for each field of ``MotionWindow``:
any program that reads WebDataset reads them. ``index.json`` is the ``wids-shard-index-v1`` of WebDataset's authors,
with two things more: the SHA-256 of each tar, and the shape of each field, against which every member is held before it
takes memory. Nothing in a tar is a pickle, and nothing is unpacked into a folder.
"""

from __future__ import annotations

import io
import json
import math
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cospeech._extras import require
from cospeech.errors import MotionFileError

__all__ = ["INDEX_KIND", "TarEntry", "TarIndex", "is_tar_index", "iter_tar", "parse_tar_index", "tar_shapes"]

INDEX_KIND = "wids-shard-index-v1"
_AXES = {"axis_angle": 3, "translation": 2, "expressions": 2, "semantic": 1, "waveform": 1, "speaker": 0, "features": 2}
_MOST_HEADER = 4096  # of an npy member beside its numbers


class TarEntry(NamedTuple):
    """One tar of an index.

    Attributes:
        url: Its name beside the index.
        nsamples: Windows in it.
        filesize: Bytes.
        sha256: Of the whole file, in hexadecimal.
    """

    url: str
    nsamples: int
    filesize: int
    sha256: str


class TarIndex(NamedTuple):
    """What the tars of a folder hold.

    Attributes:
        fields: Shape of each field of a window.
        shardlist: The tars.
    """

    fields: dict[str, tuple[int, ...]]
    shardlist: tuple[TarEntry, ...]


def is_tar_index(text: str) -> bool:
    """Whether an ``index.json`` is one of tars."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "shardlist" in value


def parse_tar_index(text: str) -> TarIndex:
    """The content of an ``index.json``.

    Raises:
        MotionFileError: If the text is no index of tars of windows, or names a file outside of its folder.
    """
    try:
        value = json.loads(text)
        fields = {str(name): tuple(int(n) for n in shape) for name, shape in value["fields"].items()}
        entries = tuple(
            TarEntry(str(e["url"]), int(e["nsamples"]), int(e["filesize"]), str(e["sha256"]))
            for e in value["shardlist"]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MotionFileError(
            f"Expected an index.json of tars of windows, see cospeech.data.index_tars; {type(error).__name__}: {error}."
        ) from error
    if {name: len(shape) for name, shape in fields.items()} != _AXES or any(n < 0 for s in fields.values() for n in s):
        raise MotionFileError(f"The index must give the shapes of {', '.join(_AXES)}; got {fields}.")
    if not entries:
        raise MotionFileError("The index lists no tars.")
    for entry in entries:
        if not re.fullmatch(r"[\w-][\w.-]*\.tar", entry.url) or not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
            raise MotionFileError(f"The index must name tars beside it, with their SHA-256; got {entry}.")
        if entry.nsamples < 1 or entry.nsamples * _window_bytes(fields) > entry.filesize:
            raise MotionFileError(f"{entry.url}: {entry.nsamples} windows cannot lie in {entry.filesize} bytes.")
    return TarIndex(fields, entries)


def iter_tar(path: Path, fields: Mapping[str, tuple[int, ...]]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """The samples of a tar, through WebDataset's own reader, held against what they must be.

    Args:
        path: The tar.
        fields: Shape of each field.

    Yields:
        Arrays by field, float32, and ``speaker`` int64. They cannot be written to.

    Raises:
        MotionFileError: If the tar is damaged or compressed; holds links, devices, or paths that leave its folder; or
            if a member is larger than its field, of another type or shape, missing, or there twice.
    """
    _check_members(path, fields)
    for sample in _samples(path, fields):
        arrays = {}
        for name, data in sample.items():
            arrays[name], shape = _array(name, data, fields[name])
            if shape != fields[name]:
                raise MotionFileError(f"{path.name}: {name} must have shape {fields[name]}; got {shape}.")
        yield arrays


@lru_cache(maxsize=64)
def _header(name: str, shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    fields = {"descr": _dtype(name).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, fields)
    return content.getvalue()


def tar_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the fields of a tar's first sample.

    Raises:
        MotionFileError: If there is none.
    """
    _check_members(path, {})
    for sample in _samples(path, _AXES):
        return {name: _array(name, data)[1] for name, data in sample.items()}
    raise MotionFileError(f"{path.name} holds no samples.")


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype("<i8" if name == "speaker" else "<f4")


def _bytes(name: str, shape: tuple[int, ...]) -> int:
    return _dtype(name).itemsize * math.prod(shape)


def _window_bytes(fields: Mapping[str, tuple[int, ...]]) -> int:
    return sum(_bytes(name, shape) for name, shape in fields.items())


def _check_members(path: Path, fields: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse what WebDataset's reader would take in good faith; only headers are read, and nothing is unpacked."""
    wanted = {f"{name}.npy": _bytes(name, shape) for name, shape in fields.items()}
    try:
        with tarfile.open(path, mode="r:") as tar:  # "r:" refuses compression, behind which a tar may have any size
            for member in tar:
                if not (member.isfile() or member.isdir()) or member.issparse():
                    raise MotionFileError(
                        f"{path.name}: {member.name!r} must be a plain file; it is a link or a device."
                    )
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    raise MotionFileError(f"{path.name}: {member.name!r} leaves the folder.")
                most = wanted.get(_suffix(member.name), member.size) + _MOST_HEADER
                if member.size > most:
                    raise MotionFileError(
                        f"{path.name}: {member.name} must have at most {most} bytes; got {member.size}."
                    )
                tar.members = []  # type: ignore[attr-defined]  # else 4 GB of empty members would fill memory with headers
    except (tarfile.TarError, ValueError) as error:
        raise MotionFileError(f"{path.name}: expected a tar without compression; {error}.") from error


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _samples(path: Path, names: Collection[str]) -> Iterator[dict[str, bytes]]:
    """Bytes of each sample's fields; members that are none of them are skipped unread."""
    require("webdataset", extra="stream", purpose="Reading WebDataset tars")
    reader = require("webdataset.tariterators", extra="stream", purpose="Reading WebDataset tars")
    members = {f"{name}.npy": name for name in names}
    try:
        with path.open("rb") as file:
            source = [{"url": path.name, "stream": file}]
            files = reader.tar_file_expander(source, select_files=lambda name: _suffix(name) in members)
            for sample in reader.group_by_keys(files):
                found = {name: sample[member] for member, name in members.items() if member in sample}
                if len(found) < len(members):
                    absent = ", ".join(member for member in members if member not in sample)
                    raise MotionFileError(f"{path.name}: sample {sample['__key__']} needs {absent}.")
                yield found
    except (tarfile.TarError, OSError, ValueError) as error:
        raise MotionFileError(
            f"{path.name}: expected a tar of windows; {error.args[0] if error.args else error}."
        ) from error


def _array(
    name: str, data: bytes, likely: tuple[int, ...] | None = None
) -> tuple[np.ndarray[Any, Any], tuple[int, ...]]:
    """An npy file's array and shape, as a view of its bytes: a header cannot ask for memory."""
    content, dtype = io.BytesIO(data), _dtype(name)
    header = _header(name, likely) if likely is not None else b""
    if likely is not None and data.startswith(header) and len(data) == len(header) + _bytes(name, likely):
        return np.frombuffer(data, dtype, offset=len(header)).reshape(likely), likely  # ten times as fast as parsing
    try:
        version = np.lib.format.read_magic(content)
        if version != (1, 0):
            raise ValueError(f"version {version} of npy is not read")
        shape, by_columns, found = np.lib.format.read_array_header_1_0(content)
        if found != dtype or (by_columns and len(shape) > 1):
            raise ValueError(f"numbers must be {dtype}, the last axis fastest; got {found}")
        if len(data) - content.tell() != _bytes(name, shape):
            raise ValueError(f"{shape} does not fit {len(data)} bytes")
        return np.frombuffer(data, dtype, offset=content.tell()).reshape(shape), shape
    except (ValueError, OverflowError) as error:
        raise MotionFileError(f"{name}.npy: expected an array; {error}.") from error
