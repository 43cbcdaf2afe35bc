"""State dicts in files of ``torch.save``, as nearly everything published is.

Nothing in them is executed. What a file declares is read first, without taking memory for it, and held against its
size; only the tensors of the state dict are read.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub._files import MAX_RANK, TensorFile
from cospeech.hub.tensors import load_tensors

__all__ = ["WRAPPERS", "load_published"]

WRAPPERS = ("model_state", "state_dict", "net", "trans", "model", "encoder")
"""Under which published programs put their state dicts."""

_MAX_UNZIPPED_BYTES = 4 << 30
_MAX_UNZIP_RATIO = 20  # weights hardly shrink; what grows more than this is a bomb
_SMALL_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20

# Before torch 2.6 a type cannot be allowed under the name that an older NumPy gave it.
_ADMITS_NUMBERS = tuple(int(number) for number in torch.__version__.split(".")[:2]) >= (2, 6)


def load_published(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a published checkpoint, with its published keys.

    Reads safetensors, what ``torch.save`` wrote, and a zip archive that holds one such file. A state dict that lies
    under ``model_state``, ``state_dict``, ``net``, ``trans``, ``model`` or ``encoder`` is taken out, whatever lies
    beside it, and a ``module.`` before every key is removed. Nothing else is read, so an optimizer's state takes no
    memory.

    Raises:
        CheckpointError: If the file cannot be read, declares more than it holds, or holds no state dict.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _without_prefix(load_tensors(path))
    try:
        with _unzipped(path) as file:
            return _without_prefix(_read_state(file, path))
    except CheckpointError:
        raise
    except Exception as error:  # broken bytes surface as a dozen types from zipfile, pickle and torch
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not _ADMITS_NUMBERS:
            reason += " (If it holds NumPy numbers beside the weights, torch 2.6 or newer reads it.)"
        raise CheckpointError(f"{path} cannot be read as plain weights: {reason}") from error


def _read_state(file: Path, path: Path) -> dict[str, Tensor]:
    if not zipfile.is_zipfile(file):
        if tarfile.is_tarfile(file):  # torch would unpack it, links and all; nothing published has this form
            raise CheckpointError(f"{path} cannot be read as plain weights: it is a tar archive.")
        # The form before torch 1.6, which cannot be read in parts. Each size stands a second time before the data and
        # is compared there, so what is declared too large is never filled.
        with _numpy_numbers_allowed():
            content = torch.load(file, map_location="cpu", weights_only=True)
        state = _state_in(content, path)
        _check_sizes(state, file.stat().st_size, path)
        return {key: tensor.detach() for key, tensor in state.items()}
    is_native = _check_records(file, path)
    with _numpy_numbers_allowed():
        content = torch.load(file, map_location="meta", weights_only=True)
        state = _state_in(content, path)
        _check_sizes(state, file.stat().st_size, path)
        if is_native and all(hasattr(tensor.untyped_storage(), "_checkpoint_offset") for tensor in state.values()):
            return _read_storages(file, state)
        # An older torch does not say where the data lie. Mapped, for then no tensor can reach beyond the file.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return {key: tensor.detach().clone() for key, tensor in _state_in(content, path).items()}


def _read_storages(file: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    read = {}
    with TensorFile(file) as opened:
        for key, tensor in state.items():
            storage, itemsize = tensor.untyped_storage(), tensor.element_size()
            begin = int(storage._checkpoint_offset or 0) + int(tensor.storage_offset()) * itemsize
            if tensor.is_contiguous():
                read[key] = opened.tensor(offset=begin, shape=tensor.shape, dtype=tensor.dtype)
            else:
                span = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)) + 1
                flat = opened.tensor(offset=begin, shape=(span,), dtype=tensor.dtype)
                read[key] = flat.as_strided(tensor.shape, tensor.stride()).contiguous()
    return read


def _check_records(file: Path, path: Path) -> bool:
    """Refuse an archive whose records hold more than the file; say whether its numbers are in this byte order."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise CheckpointError(f"{path} cannot be read as plain weights: its records are compressed.")
        if sum(record.file_size for record in records) > file.stat().st_size:
            raise CheckpointError(f"{path} cannot be read as plain weights: its records overlap.")
        orders = [record for record in records if record.filename.endswith("/byteorder")]
        return all(archive.read(record) in (b"little", b"") for record in orders)


def _check_sizes(state: Mapping[str, Tensor], size: int, path: Path) -> None:
    """Refuse tensors that claim more numbers than the file has, all of them together or each for itself."""
    for key, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.ndim > MAX_RANK:
            raise CheckpointError(f"{path} cannot be read as plain weights: {key} is no dense tensor.")
        if tensor.numel() * tensor.element_size() > min(size, tensor.untyped_storage().nbytes()):
            raise CheckpointError(
                f"{path} cannot be read as plain weights: {key} claims the shape {tuple(tensor.shape)}, for which the "
                "file has no numbers."
            )
    # Tied weights stand once in the file; more than a few times is no network.
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > 4 * size:
        raise CheckpointError(f"{path} cannot be read as plain weights: its tensors claim more than it holds.")


@contextmanager
def _unzipped(path: Path) -> Iterator[Path]:
    """The file itself, or the one checkpoint inside a plain zip archive (``torch.save`` also writes zip files)."""
    if not zipfile.is_zipfile(path):
        yield path
        return
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.filename.endswith("data.pkl") for member in members):
            yield path
            return
        limit = min(_MAX_UNZIPPED_BYTES, max(_SMALL_BYTES, _MAX_UNZIP_RATIO * path.stat().st_size))
        if len(members) != 1 or members[0].file_size > limit:
            raise CheckpointError(
                f"{path} must hold one checkpoint of at most 4 GB; got {len(members)} files of "
                f"{sum(member.file_size for member in members)} bytes."
            )
        # Under a name of ours, never under the member's, which may lead anywhere.
        with tempfile.TemporaryDirectory(prefix="cospeech-") as folder:
            target = Path(folder) / "checkpoint"
            with archive.open(members[0]) as source, target.open("wb") as out:
                while chunk := source.read(_CHUNK_BYTES):
                    out.write(chunk)
            yield target


def _numpy_numbers_allowed() -> AbstractContextManager[Any]:
    """Lets a file hold NumPy numbers, as scores beside weights often are; making one executes nothing."""
    if not _ADMITS_NUMBERS:
        return nullcontext()
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    names = [(scalar, f"numpy.{package}.multiarray.scalar") for package in ("_core", "core")]
    return torch.serialization.safe_globals([*names, np.dtype, *kinds])


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
            return dict(content)
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                return _state_in(content[name], path)
    raise CheckpointError(f"{path} holds no state dict, neither bare nor under {', '.join(WRAPPERS)}.")


def _without_prefix(state: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    if not all(key.startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}
