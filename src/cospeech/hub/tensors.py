"""Named tensors in safetensors files, whole or in shards.

No more than one copy of the weights is ever in memory, and it does not change when the file does; see ``TensorFile``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub._files import TensorFile, file_inside
from cospeech.hub._writing import make_folder, replacing
from cospeech.hub.config import read_json

__all__ = ["INDEX_SUFFIX", "load_tensors", "save_tensors", "split_shards", "weight_files"]

INDEX_SUFFIX = ".index.json"
"""Behind the name of the whole file; what the transformers library and diffusers call a sharded checkpoint's index."""

_MAX_HEADER_BYTES = 16 << 20
_MAX_INDEX_BYTES = 16 << 20
_SHARD = re.compile(r"[\w][\w.-]*\.safetensors")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class _Stored(NamedTuple):
    """Where a tensor lies in which file."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | os.PathLike[str], *, max_shard_bytes: int | None = None
) -> None:
    """Write named tensors as safetensors; what stood there before is replaced only when all is written.

    Args:
        tensors: Names and tensors.
        path: The file; its folder is made if missing.
        max_shard_bytes: Above this the tensors are shared out over files ``NAME-00001-of-00003.safetensors`` and the
            index ``NAME.safetensors.index.json`` is written in the place of ``path``. A tensor is never cut.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    shards = split_shards(plain, max_shard_bytes)
    old = set(weight_files(path)) if path.with_name(path.name + INDEX_SUFFIX).is_file() else set()
    if len(shards) == 1:
        with replacing(path) as unfinished:
            _write(plain, unfinished)
        written = {path}
    else:
        names = [f"{path.stem}-{i:05}-of-{len(shards):05}{path.suffix}" for i in range(1, len(shards) + 1)]
        for name, keys in zip(names, shards, strict=True):
            with replacing(path.with_name(name)) as unfinished:
                _write({key: plain[key] for key in keys}, unfinished)
        index = {
            "metadata": {"total_size": sum(map(_num_bytes, plain.values()))},
            "weight_map": {key: name for name, keys in zip(names, shards, strict=True) for key in keys},
        }
        with replacing(path.with_name(path.name + INDEX_SUFFIX)) as unfinished:
            unfinished.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        written = {path.with_name(name) for name in (*names, path.name + INDEX_SUFFIX)} | {path}
        path.unlink(missing_ok=True)
    for leftover in old - written:  # the shards of what stood here before
        leftover.unlink(missing_ok=True)


def split_shards(tensors: Mapping[str, Tensor], max_shard_bytes: int | None) -> list[list[str]]:
    """The names in their order, in groups of at most so many bytes (one tensor at least).

    Example:
        >>> split_shards({"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(9)}, max_shard_bytes=16)
        [['a', 'b'], ['c']]
    """
    if max_shard_bytes is None:
        return [list(tensors)]
    if max_shard_bytes < 1:
        raise ValueError(f"`max_shard_bytes` must be positive; got {max_shard_bytes}.")
    shards: list[list[str]] = [[]]
    filled = 0
    for key, tensor in tensors.items():
        if shards[-1] and filled + _num_bytes(tensor) > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += _num_bytes(tensor)
    return shards


def load_tensors(path: str | os.PathLike[str], *, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the shards that stand in its place.

    Everything is checked against the size of the file before memory is taken.

    Args:
        path: The file, whether or not it was written in shards.
        like: Which keys, shapes and dtypes must come out (values are not looked at, so meta tensors do). Floating
            point may be stored in another precision. By default everything comes out as it is stored.

    Raises:
        CheckpointError: If a file is missing or damaged, an index does not tell the truth, or keys or shapes differ
            from ``like``.
    """
    path = Path(path)
    stored: dict[str, _Stored] = {}
    for file, keys in _shards(path).items():
        header = _read_header(file)
        if keys is not None and header.keys() != set(keys):
            raise CheckpointError(f"{file} does not hold what the index of {path.name} says.")
        stored.update(header)
    if like is not None:
        _compare(path, stored, like)
    tensors: dict[str, Tensor] = {}
    for file in dict.fromkeys(place.path for place in stored.values()):
        try:
            with TensorFile(file) as opened:
                for key, (_, offset, shape, dtype) in _in_file(stored, file).items():
                    tensor = opened.tensor(offset=offset, shape=shape, dtype=dtype)
                    tensors[key] = tensor if like is None else tensor.to(like[key].dtype)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
    return {key: tensors[key] for key in (stored if like is None else like)}


def weight_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files in which the tensors of ``path`` lie: itself, or its index and the shards that this names.

    Raises:
        CheckpointError: If an index names a file outside its folder, or cannot be read.
    """
    path = Path(path)
    index = path.with_name(path.name + INDEX_SUFFIX)
    return [path] if path.is_file() or not index.is_file() else [index, *_shards(path)]


def _shards(path: Path) -> dict[Path, list[str] | None]:
    """The files of a checkpoint, and which keys each must hold, where an index says so."""
    index = path.with_name(path.name + INDEX_SUFFIX)
    if path.is_file() or not index.is_file():
        return {file_inside(path.parent, path.name): None}
    fields = read_json(file_inside(path.parent, index.name), max_bytes=_MAX_INDEX_BYTES)
    weight_map = fields.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index} must hold a `weight_map`.")
    shards: dict[Path, list[str] | None] = {}
    for key, name in weight_map.items():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise CheckpointError(f"{index} must name files beside it; got {str(name)[:80]!r} for {key[:80]}.")
        keys = shards.setdefault(path.with_name(name), [])
        assert keys is not None
        keys.append(key)
    for shard in shards:
        file_inside(path.parent, shard.name)
    return shards


def _read_header(path: Path) -> dict[str, _Stored]:
    """What a file holds, and where. Offsets are checked by the safetensors library, which does not hand them out."""
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
        with path.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise CheckpointError(f"{path} cannot be read: its header takes {length} bytes.")
            header = json.loads(raw.read(length))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    stored = {}
    for name in names:
        entry = header[name]
        if entry["dtype"] not in _DTYPES:
            raise CheckpointError(f"{path} cannot be read: {name} is of the unknown type {entry['dtype']}.")
        begin = 8 + length + entry["data_offsets"][0]
        stored[name] = _Stored(path, begin, tuple(entry["shape"]), _DTYPES[entry["dtype"]])
    # In the order of the file, which is the order of writing within one type.
    return dict(sorted(stored.items(), key=lambda item: item[1].offset))


def _in_file(stored: Mapping[str, _Stored], file: Path) -> dict[str, _Stored]:
    return {key: place for key, place in stored.items() if place.path == file}


def _compare(path: Path, given: Mapping[str, _Stored], wanted: Mapping[str, Tensor]) -> None:
    problems = [f"missing {key}" for key in wanted if key not in given]
    problems += [f"unexpected {key}" for key in given if key not in wanted]
    problems += [
        f"misshapen {key}: {given[key].shape} instead of {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and given[key].shape != tuple(tensor.shape)
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit: {'; '.join(problems)}.")
    kinds = [key for key in wanted if given[key].dtype.is_floating_point != wanted[key].dtype.is_floating_point]
    if kinds:
        raise CheckpointError(f"{path} does not fit: other kind of number in {', '.join(kinds)}.")


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be written: {error}.") from error
