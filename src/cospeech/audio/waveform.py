"""Waveforms: any audio source to mono samples at the rate wanted, whole or block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech.audio.clocks import rate_ratio, samples_to_seconds, seconds_to_samples
from cospeech.audio.decoding import AudioSource, AudioStream, describe, open_audio
from cospeech.audio.resample import resample_blocks, resampled_length
from cospeech.errors import AudioError

__all__ = ["AudioInfo", "audio_info", "check_speech", "iter_audio", "load_audio", "measure_speech"]

_SILENCE = 1e-4  # peak amplitude, -80 dB of full scale: two or three steps of 16-bit audio
_SHORTEST_SECONDS = 0.1
_RESERVE_SAMPLES = 1 << 26  # at most so many samples are reserved because a header says so


class AudioInfo(NamedTuple):
    """What an audio source holds.

    Attributes:
        rate_hz: Sampling rate.
        num_channels: Channels.
        num_samples: Samples per channel.
        seconds: Duration.
        format: For people: ``"WAV, 16-bit PCM"``, ``"MP3"``.
    """

    rate_hz: float
    num_channels: int
    num_samples: int
    seconds: float
    format: str


def load_audio(source: AudioSource, rate_hz: float, *, source_rate_hz: float | None = None) -> Tensor:
    """Mono samples at ``rate_hz``, from any source.

    The format is told by content, not by file name. WAV (PCM, float) needs no extra package; MP3, FLAC, Ogg and
    whatever else libsndfile reads needs ``cospeech[audio]``. Channels are averaged.

    Args:
        source: A path, the bytes of a file, a binary file object, or samples: an array or tensor ``(S,)`` or
            ``(channels, S)``, floating point in [-1, 1], int16 or int32; or an iterable of such samples, in the
            order in which they are heard.
        rate_hz: The sampling rate wanted.
        source_rate_hz: The sampling rate of an array; files say theirs themselves.

    Returns:
        float32 ``(S',)`` on the CPU, ``S' = ceil(S * rate_hz / rate)``. Full scale is 1; a float source that goes
        beyond it, or a peak that resampling restores between samples, is kept rather than clipped. One sample is
        audio; so is silence (``check_speech`` tells them apart from speech).

    Raises:
        AudioError: If there is no such file, or it is not audio, empty, damaged, truncated, or holds NaN or infinity.
        MissingExtraError: If it is a format of the ``audio`` extra, and that is not installed.
        ValueError: If a rate or the shape of an array is wrong.
        TypeError: If the source is none of the above.

    Example:
        >>> tone = torch.sin(torch.linspace(0, 440 * 2 * torch.pi, 44100))
        >>> load_audio(tone, 16000, source_rate_hz=44100).shape
        torch.Size([16000])
    """
    with open_audio(source, source_rate_hz=source_rate_hz) as stream:
        expected = resampled_length(max(stream.num_samples, 0), stream.rate_hz, rate_hz)
        samples = torch.empty(min(expected, _RESERVE_SAMPLES))
        filled = 0
        for block in _mono_blocks(stream, rate_hz, describe(source)):
            if filled + len(block) > len(samples):
                samples = torch.cat([samples[:filled], torch.empty(filled + len(block))])  # doubles: linear in all
            samples[filled : filled + len(block)] = block
            filled += len(block)
    return samples[:filled]


def iter_audio(
    source: AudioSource, rate_hz: float, block_seconds: float = 10.0, *, source_rate_hz: float | None = None
) -> Iterator[Tensor]:
    """``load_audio`` piece by piece, in memory that does not grow with the length of the source.

    Args:
        source: As for ``load_audio``.
        rate_hz: The sampling rate wanted.
        block_seconds: Length of a block, rounded to samples.
        source_rate_hz: As for ``load_audio``.

    Yields:
        float32 ``(S,)`` of ``block_seconds``, the last one shorter. Joined, they equal ``load_audio`` bit for bit.

    Raises:
        AudioError: As ``load_audio``, but when the damaged place is reached: at the first block at the earliest.
        ValueError: If a rate or ``block_seconds`` is wrong.
    """
    block_samples = seconds_to_samples(block_seconds, rate_hz)
    if block_samples < 1:
        raise ValueError(f"`block_seconds` must span a sample at least; got {block_seconds} s at {rate_hz} Hz.")
    with open_audio(source, source_rate_hz=source_rate_hz) as stream:
        pending: list[Tensor] = []
        held = 0
        for block in _mono_blocks(stream, rate_hz, describe(source)):
            pending.append(block)
            held += len(block)
            if held < block_samples:
                continue
            joined = torch.cat(pending)
            whole = held - held % block_samples
            for start in range(0, whole, block_samples):
                yield joined[start : start + block_samples].clone()
            pending, held = [joined[whole:].clone()], held - whole
        if held:
            yield torch.cat(pending)


def audio_info(source: AudioSource, *, source_rate_hz: float | None = None) -> AudioInfo:
    """What a source holds, by its header: nothing is decoded.

    Raises:
        AudioError: As ``load_audio``, as far as the header shows it.
    """
    with open_audio(source, source_rate_hz=source_rate_hz) as stream:
        seconds = samples_to_seconds(stream.num_samples, stream.rate_hz)
        return AudioInfo(stream.rate_hz, stream.num_channels, stream.num_samples, seconds, stream.format)


def check_speech(waveform: Tensor, rate_hz: float, *, name: str = "The audio") -> None:
    """Refuse what a motion cannot be made from.

    Args:
        waveform: Samples, ``(S,)``.
        rate_hz: Their sampling rate.
        name: How the message calls them.

    Raises:
        AudioError: If they last less than 0.1 s, hold NaN or infinity, or are silent (no peak above -80 dB of full
            scale).

    Example:
        >>> check_speech(torch.zeros(16000), 16000, name="'a.wav'")
        Traceback (most recent call last):
        cospeech.errors.AudioError: 'a.wav' is silent: its peak is 0 of full scale.
    """
    if not bool(torch.isfinite(waveform).all()):
        raise AudioError(f"{name} holds NaN or infinite samples.")
    peak = float(waveform.abs().max()) if waveform.shape[-1] else 0.0
    _refuse_unless_speech(waveform.shape[-1], rate_hz, peak, name)


def measure_speech(source: AudioSource, rate_hz: float, *, source_rate_hz: float | None = None) -> int:
    """How many samples ``load_audio`` would give, if they are fit to make a motion from.

    The source is decoded to its end, but not resampled and not kept: an error shows before any work is done on it.

    Raises:
        AudioError: As ``load_audio``, and as ``check_speech``.
    """
    num_samples, peak = 0, 0.0
    with open_audio(source, source_rate_hz=source_rate_hz) as stream:
        for block in _mixed_blocks(stream, describe(source)):
            num_samples += len(block)
            peak = max(peak, float(block.abs().max()))
        _refuse_unless_speech(num_samples, stream.rate_hz, peak, describe(source))
        return resampled_length(num_samples, stream.rate_hz, rate_hz)


def _refuse_unless_speech(num_samples: int, rate_hz: float, peak: float, name: str) -> None:
    seconds = samples_to_seconds(num_samples, rate_hz)
    if seconds < _SHORTEST_SECONDS:
        samples = "1 sample" if num_samples == 1 else f"{num_samples} samples"
        raise AudioError(f"{name} is too short: {samples}, {seconds:.4f} s; {_SHORTEST_SECONDS} s is the least.")
    if peak < _SILENCE:
        raise AudioError(f"{name} is silent: its peak is {peak:.2g} of full scale.")


def _mono_blocks(stream: AudioStream, rate_hz: float, name: str) -> Iterator[Tensor]:
    """Mixed down, checked, resampled."""
    mixed = _mixed_blocks(stream, name)
    if rate_ratio(stream.rate_hz, rate_hz) == 1:
        return mixed
    return resample_blocks(mixed, stream.rate_hz, rate_hz)


def _mixed_blocks(stream: AudioStream, name: str) -> Iterator[Tensor]:
    seen = 0
    for block in filter(len, stream.blocks):
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            first = seen + int(np.argmin(np.isfinite(mono)))
            raise AudioError(f"{name} holds NaN or infinite samples, the first at {first / stream.rate_hz:.3f} s.")
        seen += len(mono)
        yield torch.from_numpy(np.ascontiguousarray(mono))
    if not seen:
        raise AudioError(f"{name} holds no samples.")
