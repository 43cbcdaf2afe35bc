"""WAV files read block by block with NumPy alone.

A header is a claim, not a fact: nothing is allocated by what it says, and what it says is compared with the bytes that
are there. Handles PCM of 8, 16, 24 and 32 bits, float of 32 and 64, RIFF, RIFX (big-endian) and RF64/BW64 (over 4 GB).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from cospeech.errors import AudioError

__all__ = ["WavHeader", "read_wav_blocks", "read_wav_header"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE = 0x7FFF0000  # programs that write to a pipe put a size near 2 or 4 GB: "until the end"
_BLOCK_SAMPLES = 1 << 18


class WavHeader(NamedTuple):
    """What a WAV file says about itself, checked against its length.

    Attributes:
        rate_hz: Sampling rate.
        num_channels: Channels.
        num_samples: Samples per channel that are there.
        dtype: How one stored sample is read, ``"u1"``, ``"<i2"``, ``"<i3"`` (24 bits; not a NumPy type), ``"<f4"``...
        data_start: Byte at which the samples start.
    """

    rate_hz: int
    num_channels: int
    num_samples: int
    dtype: str
    data_start: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel."""
        return int(self.dtype[-1])

    @property
    def encoding(self) -> str:
        """For people: ``"16-bit PCM"``, ``"32-bit float"``."""
        return f"{8 * self.sample_bytes}-bit {'float' if 'f' in self.dtype else 'PCM'}"


def read_wav_header(file: BinaryIO, name: str) -> WavHeader | None:
    """Walk through the chunks of a WAV file up to its samples.

    Args:
        file: Seekable, at any position; ``"RIFF"``, ``"RIFX"``, ``"RF64"`` or ``"BW64"`` at byte 0.
        name: How messages call the file.

    Returns:
        The header, or None if the samples are of a kind that this page does not decode (ADPCM, a-law, ...).

    Raises:
        AudioError: If the file is damaged: no format, no samples, or fewer than it promises.
    """
    file_bytes = file.seek(0, 2)
    file.seek(0)
    order = ">" if file.read(12)[:4] == b"RIFX" else "<"
    fmt: bytes | None = None
    large_data_bytes: int | None = None
    while True:
        chunk = file.read(8)
        if len(chunk) < 8:
            missing = "a format" if fmt is None else "samples"
            raise AudioError(f"{name} is damaged: a WAV file without {missing}.")
        tag, size = chunk[:4], struct.unpack(order + "I", chunk[4:])[0]
        start = file.tell()
        if tag == b"data":
            break
        if tag == b"fmt ":
            fmt = file.read(min(size, 40))
            if len(fmt) < 16:
                break
        elif tag == b"ds64":
            large_data_bytes = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]
        file.seek(start + size + size % 2)
    if fmt is None or len(fmt) < 16:
        raise AudioError(f"{name} is damaged: a WAV file without a format.")

    code, num_channels, rate_hz, _, frame_bytes, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if code == _EXTENSIBLE and len(fmt) >= 26:
        code = struct.unpack(order + "H", fmt[24:26])[0]
    sample_bytes = (bits + 7) // 8  # 20 bits live in the top of 3 bytes
    kinds = {(_PCM, 1): "|u1", (_PCM, 2): "i2", (_PCM, 3): "i3", (_PCM, 4): "i4", (_FLOAT, 4): "f4", (_FLOAT, 8): "f8"}
    if (code, sample_bytes) not in kinds:
        return None
    if num_channels == 0 or rate_hz == 0 or frame_bytes != num_channels * sample_bytes:
        raise AudioError(
            f"{name} is damaged: its WAV header claims {num_channels} channels of {bits} bits in {frame_bytes} bytes "
            f"at {rate_hz} Hz."
        )
    there = file_bytes - start
    promised = large_data_bytes if large_data_bytes is not None and size == 0xFFFFFFFF else size
    if promised >= _UNKNOWN_SIZE and promised > there and large_data_bytes is None:
        promised = there
    if promised > there:
        raise AudioError(
            f"{name} is truncated: its header promises {promised // frame_bytes / rate_hz:.2f} s of audio, "
            f"{there // frame_bytes / rate_hz:.2f} s are there."
        )
    kind = kinds[code, sample_bytes]
    return WavHeader(rate_hz, num_channels, promised // frame_bytes, order + kind if kind[0] != "|" else "u1", start)


def read_wav_blocks(file: BinaryIO, header: WavHeader) -> Iterator[np.ndarray[Any, Any]]:
    """The samples, block by block: float32 ``(S, channels)``, PCM scaled to [-1, 1)."""
    file.seek(header.data_start)
    frame_bytes = header.num_channels * header.sample_bytes
    remaining = header.num_samples
    while remaining > 0:
        count = min(remaining, max(_BLOCK_SAMPLES // header.num_channels, 1))
        raw = file.read(count * frame_bytes)
        yield _to_float(raw, header.dtype).reshape(-1, header.num_channels)
        remaining -= count


def _to_float(raw: bytes, dtype: str) -> np.ndarray[Any, Any]:
    if dtype[-2:] == "i3":  # widen to 32 bits, the low byte zero
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, slice(1, 4) if dtype[0] == "<" else slice(0, 3)] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw, dtype = wide.tobytes(), dtype[0] + "i4"
    stored: np.ndarray[Any, Any] = np.frombuffer(raw, dtype)
    samples = stored.astype(np.float32)
    if stored.dtype.kind == "f":
        return samples
    if stored.dtype.kind == "u":
        samples -= 128
    samples *= 2.0 ** (1 - 8 * stored.dtype.itemsize)
    return samples
