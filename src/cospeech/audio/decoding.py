"""Any audio source opened by its content: what it is, and its samples block by block.

Arrays may also come one after the other, from a microphone say: any iterable of them is a source, heard as it goes.

The suffix of a file name is not looked at; many a ``.wav`` is an MP3. WAV is read by ``wav.py``; everything else by
libsndfile through the ``audio`` extra.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

from cospeech._extras import require
from cospeech.audio.wav import read_wav_blocks, read_wav_header
from cospeech.errors import AudioError, MissingExtraError

__all__ = ["AudioSource", "AudioStream", "hold_audio", "open_audio"]

Samples: TypeAlias = np.ndarray[Any, Any] | Tensor
AudioSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Samples | Iterable[Samples]
)

_BLOCK_SAMPLES = 1 << 18
_RATES_HZ = (1000, 768_000)  # outside of it a header is wrong, and a resampling filter would fill the memory
_MAX_CHANNELS = 1024  # libsndfile's own limit

# What a file starts with, and whether libsndfile decodes it.
_DECODABLE = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"caff": "CAF",
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "WAV",
    b"BW64": "WAV",
    b"riff": "Wave64",
}
_FOREIGN = {b"\x1a\x45\xdf\xa3": "Matroska or WebM", b"#!AMR": "AMR", b"0&\xb2u": "Windows Media", b"wvpk": "WavPack"}


class AudioStream(NamedTuple):
    """An opened source.

    Attributes:
        rate_hz: Sampling rate.
        num_channels: Channels; 0 where they are not known beforehand.
        num_samples: Samples per channel, as far as the header is to be trusted; 0 where it is not known beforehand.
        format: For people: ``"WAV, 16-bit PCM"``, ``"MP3"``.
        blocks: Consecutive samples, float32 ``(S, channels)``.
    """

    rate_hz: float
    num_channels: int
    num_samples: int
    format: str
    blocks: Iterator[np.ndarray[Any, Any]]


@contextmanager
def open_audio(source: AudioSource, *, source_rate_hz: float | None = None) -> Iterator[AudioStream]:
    """Open a path, bytes, a binary file object, an array, a tensor, or an iterable of these; see ``load_audio``."""
    if isinstance(source, np.ndarray | Tensor):
        if source_rate_hz is None:
            raise ValueError("`source_rate_hz` must be given with an array of samples.")
        yield _open_array(source, source_rate_hz)
        return
    if _is_chunks(source):
        if source_rate_hz is None:
            raise ValueError("`source_rate_hz` must be given with chunks of samples.")
        yield AudioStream(source_rate_hz, 0, 0, "chunks", _chunk_blocks(source, source_rate_hz))
        return
    if source_rate_hz is not None:
        raise ValueError("`source_rate_hz` is for arrays; files say their rate themselves.")
    name, opened = _open_file(source)
    with opened as file:
        yield _open_stream(file, name)


def hold_audio(source: AudioSource) -> AudioSource:
    """A source that can be gone through more than once: files that are open are read, chunks joined."""
    if isinstance(source, np.ndarray | Tensor):
        return source
    if _is_chunks(source):
        chunks = [chunk if isinstance(chunk, Tensor) else torch.as_tensor(chunk) for chunk in _checked_chunks(source)]
        return torch.cat(chunks, dim=-1) if chunks else torch.empty(0)
    return source.read() if hasattr(source, "read") else source


def describe(source: AudioSource) -> str:
    """How messages call a source."""
    if isinstance(source, str | os.PathLike):
        return f"'{os.fspath(source)}'"
    if isinstance(source, np.ndarray | Tensor):
        return "The array"
    name = getattr(source, "name", None)
    return f"'{name}'" if isinstance(name, str) else "The audio given"


def _open_array(samples: np.ndarray[Any, Any] | Tensor, rate_hz: float) -> AudioStream:
    if isinstance(samples, Tensor):
        # NumPy has no bfloat16, so floating point goes by float32.
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.is_floating_point() else samples).numpy()
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[0] > samples.shape[1] > 0):
        raise ValueError(
            f"An array of samples must have shape (S,) or (channels, S); got {samples.shape}: "
            f"{'transpose it' if samples.ndim == 2 else 'pass one clip at a time'}."
        )
    scales = {"i2": 2.0**15, "i4": 2.0**31}
    kind = f"{samples.dtype.kind}{samples.dtype.itemsize}"
    if samples.dtype.kind == "f":
        scaled = samples.astype(np.float32)
    elif kind in scales:
        scaled = (samples / scales[kind]).astype(np.float32)
    else:
        raise TypeError(f"Samples must be floating point, int16 or int32; got {samples.dtype}.")
    planes = np.atleast_2d(scaled)
    return AudioStream(rate_hz, planes.shape[0], planes.shape[1], "array", iter([planes.T]))


def _is_chunks(source: object) -> TypeGuard[Iterable[Samples]]:
    closed = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Tensor)
    return isinstance(source, Iterable) and not isinstance(source, closed) and not hasattr(source, "read")


def _checked_chunks(source: Iterable[Samples]) -> Iterator[Samples]:
    for chunk in source:
        if not isinstance(chunk, np.ndarray | Tensor):
            raise TypeError(f"Chunks of samples must be arrays or tensors; got {type(chunk).__name__}.")
        yield chunk


def _chunk_blocks(source: Iterable[Samples], rate_hz: float) -> Iterator[np.ndarray[Any, Any]]:
    num_channels = 0
    for chunk in _checked_chunks(source):
        stream = _open_array(chunk, rate_hz)
        if num_channels not in (0, stream.num_channels):
            raise ValueError(f"Chunks of samples must all have {num_channels} channels; got {stream.num_channels}.")
        num_channels = stream.num_channels
        yield from stream.blocks


def _open_file(source: object) -> tuple[str, AbstractContextManager[BinaryIO]]:
    """The name for messages, and a seekable binary file that starts at the audio."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "The audio given", io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        name = f"'{text}'"
        if "://" in text:
            raise AudioError(f"{name} is a web address; download the file first.")
        try:
            return name, Path(text).open("rb")
        except FileNotFoundError:
            raise AudioError(f"No such file: {name}.") from None
        except IsADirectoryError:
            raise AudioError(f"{name} is a folder, not an audio file.") from None
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            raise AudioError(f"{name} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    if not hasattr(source, "read"):
        raise TypeError(
            "Audio must be a path, bytes, a binary file, an array or a tensor, or an iterable of arrays; "
            f"got {type(source).__name__}."
        )
    label = getattr(source, "name", None)
    name = f"'{label}'" if isinstance(label, str) else "The audio given"
    seekable = getattr(source, "seekable", None)
    if seekable is not None and seekable() and source.tell() == 0:  # type: ignore[attr-defined]
        return name, nullcontext(source)  # type: ignore[arg-type]
    rest = source.read()
    if not isinstance(rest, bytes):
        raise TypeError(f"{name} must be opened in binary mode ('rb').")
    return name, io.BytesIO(rest)


def _open_stream(file: BinaryIO, name: str) -> AudioStream:
    try:
        magic = file.read(12)
    except OSError as error:
        raise AudioError(f"{name} cannot be read: {error.strerror or error}.") from error
    if not isinstance(magic, bytes):
        raise TypeError(f"{name} must be opened in binary mode ('rb').")
    if not magic:
        raise AudioError(f"{name} is empty (0 bytes).")
    stream = None
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
        header = read_wav_header(file, name)
        if header is not None:
            blocks = read_wav_blocks(file, header)
            label = f"WAV, {header.encoding}"
            stream = AudioStream(header.rate_hz, header.num_channels, header.num_samples, label, blocks)
    if stream is None:
        stream = _open_with_soundfile(file, name, magic)
    if not _RATES_HZ[0] <= stream.rate_hz <= _RATES_HZ[1]:
        raise AudioError(f"{name} claims a sampling rate of {stream.rate_hz} Hz, which cannot be right.")
    if stream.num_channels > _MAX_CHANNELS:
        raise AudioError(f"{name} claims {stream.num_channels} channels, which cannot be right.")
    return stream


def _open_with_soundfile(file: BinaryIO, name: str, magic: bytes) -> AudioStream:
    foreign = next((label for start, label in _FOREIGN.items() if magic.startswith(start)), None)
    if magic[4:8] == b"ftyp":
        foreign = "MPEG-4 (M4A, MP4)"
    if foreign:
        raise AudioError(f"{name} holds {foreign}, which is not supported; convert it to WAV, FLAC or MP3 first.")
    known = next((label for start, label in _DECODABLE.items() if magic.startswith(start)), None)
    if known is None and len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xE0 == 0xE0:
        known = "MP3"
    try:
        soundfile = require("soundfile", extra="audio", purpose=f"Decoding {known or 'this file'}")
    except MissingExtraError:
        if known is None:
            raise AudioError(f"{name} is not audio that is understood without the 'audio' extra.") from None
        raise
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        what = f"looks like {known}, but cannot be decoded" if known else "is not audio"
        raise AudioError(f"{name} {what} ({error.error_string.strip(' .')}).") from error
    label = {"OGG": "Ogg"}.get(opened.format, opened.format)
    if label not in ("MP3",):
        label = f"{label}, {opened.subtype_info}"
    return AudioStream(opened.samplerate, opened.channels, opened.frames, label, _soundfile_blocks(opened, name))


def _soundfile_blocks(opened: Any, name: str) -> Iterator[np.ndarray[Any, Any]]:
    promised, received = opened.frames, 0
    size = max(_BLOCK_SAMPLES // opened.channels, 1)
    with opened:
        while True:
            try:
                block = opened.read(size, dtype="float32", always_2d=True)
            except RuntimeError as error:  # soundfile's own errors derive from it
                raise AudioError(f"{name} is damaged after {received / opened.samplerate:.2f} s.") from error
            if not len(block):
                break
            received += len(block)
            yield block
    # A lossy format only estimates its length; a lossless one knows it.
    if received < promised and opened.format not in ("MP3", "OGG"):
        raise AudioError(
            f"{name} is truncated: its header promises {promised / opened.samplerate:.2f} s of audio, "
            f"{received / opened.samplerate:.2f} s are there."
        )
