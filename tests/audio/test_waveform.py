"""Any audio source to mono samples."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from torch import Tensor

from cospeech.audio import audio_info, check_speech, iter_audio, load_audio, measure_speech, resample
from cospeech.errors import AudioError, MissingExtraError

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def stereo() -> np.ndarray[Any, Any]:
    """A second of two voices, ``(S, 2)``."""
    time = np.arange(16000) / 16000
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * time), 0.3 * np.sin(2 * np.pi * 660 * time)], axis=1)


def wav_bytes(samples: np.ndarray[Any, Any], rate: int = 16000) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def header(
    *,
    code: int = 1,
    channels: int = 1,
    rate: int = 16000,
    bits: int = 16,
    data_bytes: int = 200,
    frame: int | None = None,
) -> bytes:
    """A WAV header that may lie."""
    frame = channels * bits // 8 if frame is None else frame
    fmt = struct.pack("<HHIIHH", code, channels, rate, (rate * frame) % 2**32, frame, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (36 + data_bytes) % 2**32)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + (b"data" + struct.pack("<I", data_bytes))
    )


# What is decoded


@pytest.mark.parametrize(
    ("subtype", "encoding", "accuracy"),
    [
        ("PCM_U8", "8-bit PCM", 2**-7),
        ("PCM_16", "16-bit PCM", 2**-15),
        ("PCM_24", "24-bit PCM", 2**-23),
        ("PCM_32", "32-bit PCM", 2**-24),
        ("FLOAT", "32-bit float", 1e-7),
        ("DOUBLE", "64-bit float", 1e-7),
    ],
)
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "RIFX"])
def test_every_wav(
    tmp_path: Path, stereo: np.ndarray[Any, Any], subtype: str, encoding: str, accuracy: float, container: str
) -> None:
    path = tmp_path / "a.wav"
    form, endian = ("WAV", "BIG") if container == "RIFX" else (container, "FILE")
    soundfile.write(path, stereo, 16000, subtype, endian, form)
    np.testing.assert_allclose(load_audio(path, 16000), stereo.mean(1), atol=accuracy)
    assert audio_info(path) == (16000, 2, 16000, 1.0, f"WAV, {encoding}")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_twin_scipy(dtype: str) -> None:
    generator = np.random.default_rng(0)
    samples = generator.uniform(-1, 1, (500, 3))
    stored = (
        samples.astype(dtype)
        if dtype[0] == "f"
        else (
            (samples * 127 + 128).astype(dtype)
            if dtype == "u1"
            else (samples * (np.iinfo(dtype).max - 1)).astype(dtype)
        )
    )
    source = wav_bytes(stored)
    read = wavfile.read(io.BytesIO(source))[1].astype(np.float64)
    if dtype == "u1":
        read = (read - 128) / 128
    elif dtype[0] == "i":
        read /= -float(np.iinfo(dtype).min)
    np.testing.assert_allclose(load_audio(source, 16000), read.mean(1), atol=2e-7)


@pytest.mark.parametrize(
    ("form", "subtype", "accuracy"),
    [
        ("FLAC", "PCM_16", 1e-4),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "FLOAT", 1e-6),
        ("CAF", "PCM_24", 1e-6),
        ("WAV", "ULAW", 0.03),
        ("OGG", "VORBIS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_what_libsndfile_reads_whatever_its_name(
    tmp_path: Path, stereo: np.ndarray[Any, Any], form: str, subtype: str, accuracy: float
) -> None:
    path = tmp_path / "called.wav"
    soundfile.write(path, stereo, 16000, subtype, format=form)
    waveform = load_audio(path, 16000)
    np.testing.assert_allclose(waveform[200:15000], stereo.mean(1)[200:15000], atol=accuracy)
    assert audio_info(path).format.startswith({"OGG": "Ogg"}.get(form, form))
    assert audio_info(path).num_samples == len(waveform)
    torch.testing.assert_close(load_audio(path.read_bytes(), 16000), waveform, rtol=0, atol=0)


def test_kinds_of_source_agree(tmp_path: Path, stereo: np.ndarray[Any, Any]) -> None:
    stereo = stereo.astype(np.float32)
    path = tmp_path / "speech"
    path.write_bytes(wav_bytes(stereo))
    wanted = torch.from_numpy(stereo).mean(1)
    data = path.read_bytes()
    offset = io.BytesIO(b"before" + data)
    offset.seek(6)
    read_end, write_end = os.pipe()
    with path.open("rb") as file, os.fdopen(read_end, "rb") as pipe:
        with os.fdopen(write_end, "wb") as writer:
            writer.write(wav_bytes(stereo[:1000]))
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data), offset):
            assert torch.equal(load_audio(source, 16000), wanted)
        assert torch.equal(load_audio(pipe, 16000), wanted[:1000])
    planes = np.ascontiguousarray(stereo.T)
    for array in (planes, torch.from_numpy(planes), planes.astype(np.float64), stereo.T, torch.from_numpy(stereo).T):
        assert torch.equal(load_audio(array, 16000, source_rate_hz=16000), wanted)
    assert torch.equal(load_audio(stereo[:, 0], 16000, source_rate_hz=16000), torch.from_numpy(stereo[:, 0].copy()))
    half = load_audio(torch.full((9,), 0.5, dtype=torch.bfloat16, requires_grad=True), 16000, source_rate_hz=16000)
    assert half.tolist() == [0.5] * 9
    for dtype, one in ((np.int16, 2**15), (np.int32, 2**31)):
        assert load_audio(np.array([one // 2, -one], dtype), 16000, source_rate_hz=16000).tolist() == [0.5, -1.0]


def test_array_is_not_changed_or_shared() -> None:
    samples = np.ones(10, np.float32)
    load_audio(samples, 16000, source_rate_hz=16000).zero_()
    assert samples.all()


def test_channels_are_averaged_and_the_rate_changed(tmp_path: Path, stereo: np.ndarray[Any, Any]) -> None:
    source = wav_bytes(stereo.astype(np.float32), 44100)
    wanted = resample(torch.from_numpy(stereo.astype(np.float32).mean(1)), 44100, 16000)
    torch.testing.assert_close(load_audio(source, 16000), wanted)
    assert load_audio(source, 22050.0).shape == (8000,)


def test_chunks_before_the_samples_are_passed_over() -> None:
    plain = wav_bytes(np.arange(100, dtype=np.int16))
    extra = b"LIST" + struct.pack("<I", 5) + b"abcde\0"  # odd length: a byte of padding follows
    assert torch.equal(load_audio(plain[:12] + extra + plain[12:] + extra, 16000), load_audio(plain, 16000))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
def test_size_left_open_by_a_pipe_means_to_the_end(size: int) -> None:
    assert load_audio(header(data_bytes=size) + bytes(200), 16000).shape == (100,)


def test_one_sample_and_silence_are_audio() -> None:
    assert load_audio(wav_bytes(np.array([16384], np.int16)), 16000).tolist() == [0.5]
    assert load_audio(wav_bytes(np.array([16384], np.int16), 48000), 16000).shape == (1,)
    assert load_audio(np.zeros(100), 16000, source_rate_hz=8000).eq(0).all()


# Block by block


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30000), st.sampled_from([8000, 16000, 44100]), st.floats(0.001, 2.0))
def test_blocks_joined_are_the_whole(length: int, rate: int, seconds: float) -> None:
    source = wav_bytes(np.random.default_rng(0).normal(0, 3000, (length, 2)).astype(np.int16), rate)
    blocks = list(iter_audio(source, 16000, seconds))
    assert torch.equal(torch.cat(blocks), load_audio(source, 16000))
    assert all(len(block) == round(seconds * 16000) for block in blocks[:-1])


def test_long_sources_pass_through_in_pieces() -> None:
    """More than one block of the decoder and of the resampler."""
    samples = np.random.default_rng(0).normal(0, 0.1, 1_500_000).astype(np.float32)
    whole = resample(torch.from_numpy(samples), 44100, 16000)
    assert torch.equal(load_audio(wav_bytes(samples, 44100), 16000), whole)
    assert torch.equal(torch.cat(list(iter_audio(wav_bytes(samples, 44100), 16000, 3.3))), whole)


def test_block_must_hold_a_sample() -> None:
    with pytest.raises(ValueError, match="`block_seconds` must span a sample at least; got 0"):
        next(iter_audio(np.zeros(10), 16000, 0.0, source_rate_hz=16000))


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)\."),
        (b"Hello, this is a text file, not audio at all." * 9, r"is not audio"),
        (b"RIFF\x00\x00\x00\x00WAVE", r"is damaged: a WAV file without a format\."),
        (b"RIFF\x00\x00\x00\x00AVI LIST" + bytes(99), r"looks like WAV, but cannot be decoded"),
        (header(data_bytes=0), r"holds no samples\."),
        (header(data_bytes=1) + b"\0", r"holds no samples\."),
        (header()[:-8], r"is damaged: a WAV file without samples\."),
        (header()[:30], r"is damaged: a WAV file without a format\."),
        (
            header(data_bytes=64000) + bytes(200),
            r"is truncated: its header promises 2\.00 s of audio, 0\.01 s are there",
        ),
        (header(data_bytes=0x7FFE0000) + bytes(200), r"is truncated: its header promises"),
        (header(channels=0) + bytes(200), r"is damaged: its WAV header claims 0 channels"),
        (header(rate=0) + bytes(200), r"is damaged: its WAV header claims .* at 0 Hz"),
        (header(rate=2**32 - 1) + bytes(200), r"claims a sampling rate of 4294967295 Hz, which cannot be right"),
        (header(channels=2000) + bytes(8000), r"claims 2000 channels, which cannot be right"),
        (header(frame=7) + bytes(200), r"is damaged: its WAV header claims 1 channels of 16 bits in 7 bytes"),
        (header(rate=44101) + bytes(200), None),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(99), r"holds MPEG-4 \(M4A, MP4\), which is not supported; convert it"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), r"holds Matroska or WebM, which"),
        (b"ID3\x04" + bytes(99), r"looks like MP3, but cannot be decoded"),
        (b"fLaC" + bytes(99), r"looks like FLAC, but cannot be decoded"),
    ],
)
def test_damaged_content(tmp_path: Path, content: bytes, message: str | None) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    if message is None:  # odd, but right
        assert load_audio(path, 16000).shape == (37,)
        return
    with pytest.raises(AudioError, match=message) as caught:
        load_audio(path, 16000)
    assert str(caught.value).startswith(f"'{path}' ")
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match=r"^The audio given "):
        load_audio(content, 16000)


def test_truncated_flac_and_a_flac_that_claims_years() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 16000), 16000, "PCM_16", format="FLAC")
    content = bytearray(file.getvalue())
    with pytest.raises(AudioError, match=r"is (truncated|damaged)"):
        load_audio(content[: len(content) // 2], 16000)
    content[21] |= 0x0F  # the length is a number of 36 bits: 4 here, 32 after
    content[22:26] = b"\xff" * 4
    with pytest.raises(AudioError, match=r"is (truncated|damaged)"):
        load_audio(content, 16000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_samples_must_be_finite(bad: float) -> None:
    samples = np.zeros((1000, 2), np.float32)
    samples[800, 1] = bad
    with pytest.raises(AudioError, match=r"^The audio given holds NaN or infinite samples, the first at 0\.050 s\.$"):
        load_audio(wav_bytes(samples), 8000)
    with pytest.raises(AudioError, match=r"^The array holds NaN or infinite samples"):
        load_audio(samples.T, 8000, source_rate_hz=16000)


def test_names_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"^No such file: '.*nothing\.wav'\.$"):
        load_audio(tmp_path / "nothing.wav", 16000)
    with pytest.raises(AudioError, match="is a folder, not an audio file"):
        load_audio(str(tmp_path), 16000)
    with pytest.raises(AudioError, match=r"^'https://example\.org/a\.wav' is a web address; download the file first"):
        load_audio("https://example.org/a.wav", 16000)
    with pytest.raises(AudioError, match="cannot be opened"):
        load_audio("a\0b.wav", 16000)
    with pytest.raises(AudioError, match="cannot be opened: File name too long"):
        load_audio("a" * 5000, 16000)


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`source_rate_hz` must be given with an array"):
        load_audio(np.zeros(10), 16000)
    with pytest.raises(ValueError, match="`source_rate_hz` is for arrays"):
        load_audio(wav_bytes(np.zeros(10, np.int16)), 16000, source_rate_hz=16000)
    with pytest.raises(ValueError, match=r"\(S,\) or \(channels, S\); got \(100, 2\): transpose it"):
        load_audio(np.zeros((100, 2)), 16000, source_rate_hz=16000)
    with pytest.raises(ValueError, match=r"got \(1, 1, 9\): pass one clip at a time"):
        load_audio(np.zeros((1, 1, 9)), 16000, source_rate_hz=16000)
    with pytest.raises(TypeError, match="must be floating point, int16 or int32; got int64"):
        load_audio(np.zeros(9, np.int64), 16000, source_rate_hz=16000)
    with pytest.raises(ValueError, match="A rate must be a positive number of hertz"):
        load_audio(np.zeros(9), 0, source_rate_hz=16000)
    with pytest.raises(ValueError, match="A rate must be a positive number of hertz"):
        load_audio(np.zeros(9), 16000, source_rate_hz=-1)
    with pytest.raises(
        TypeError,
        match=r"Audio must be a path, .*an iterable of arrays; got int",
    ):
        load_audio(3, 16000)  # type: ignore[arg-type]
    text = tmp_path / "a.txt"
    text.write_text("text")
    with text.open() as file, pytest.raises(TypeError, match="must be opened in binary mode"):
        load_audio(file, 16000)  # type: ignore[arg-type]
    for empty in (np.zeros(0), np.zeros((2, 0))):
        with pytest.raises(AudioError, match="The array holds no samples"):
            load_audio(empty, 16000, source_rate_hz=16000)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, stereo: np.ndarray[Any, Any]) -> None:
    file = io.BytesIO()
    soundfile.write(file, stereo, 16000, format="MP3")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert load_audio(wav_bytes(stereo), 16000).shape == (16000,)
    with pytest.raises(MissingExtraError, match=r"Decoding MP3 needs soundfile: pip install 'cospeech\[audio\]'"):
        load_audio(file.getvalue(), 16000)
    with pytest.raises(AudioError, match="is not audio that is understood without the 'audio' extra"):
        load_audio(b"just text", 16000)


# What is speech


def test_check_speech(speech_16k: Tensor) -> None:
    check_speech(speech_16k, 16000)
    check_speech(speech_16k[:1600], 16000)
    with pytest.raises(AudioError, match=r"'a\.wav' is too short: 1599 samples, 0\.0999 s; 0\.1 s is the least"):
        check_speech(speech_16k[:1599], 16000, name="'a.wav'")
    with pytest.raises(AudioError, match="is too short: 1 sample, "):
        check_speech(torch.ones(1), 16000)
    with pytest.raises(AudioError, match="is too short: 0 samples"):
        check_speech(torch.ones(0), 16000)
    with pytest.raises(AudioError, match="is silent: its peak is 3e-05 of full scale"):
        check_speech(torch.full((16000,), 3e-5), 16000)
    with pytest.raises(AudioError, match="holds NaN or infinite samples"):
        check_speech(torch.full((16000,), float("nan")), 16000)


@settings(max_examples=20, deadline=None)
@given(st.integers(4410, 300_000), st.sampled_from([8000, 16000, 44100]))
def test_measured_speech_is_as_long_as_loaded(length: int, rate: int) -> None:
    source = wav_bytes(np.random.default_rng(0).normal(0, 3000, length).astype(np.int16), rate)
    assert measure_speech(source, 16000) == len(load_audio(source, 16000))


def test_measure_speech_refuses_what_check_speech_refuses(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(np.ones(44100, np.int16), 44100))
    with pytest.raises(AudioError, match=r"^'.*a\.wav' is silent: its peak is 3\.1e-05 of full scale"):
        measure_speech(path, 16000)
    with pytest.raises(AudioError, match=r"^The array is too short: 1 sample, 0\.0001 s; 0\.1 s is the least"):
        measure_speech(np.ones(1), 16000, source_rate_hz=16000)
    with pytest.raises(AudioError, match="holds NaN or infinite samples, the first at"):
        measure_speech(np.full(16000, np.nan), 16000, source_rate_hz=16000)


# The clips that the project is measured on


@pytest.mark.skipif(not DATA.exists(), reason="the shared recordings are not here")
def test_shared_recordings() -> None:
    mp3, wav = DATA / "2_scott_0_103_103_28s.wav", DATA / "2_scott_0_1_1_test.wav"
    assert audio_info(mp3) == (44100, 2, 1264788, 28.68, "MP3")
    assert load_audio(mp3, 16000).shape == (458880,)
    assert np.array_equal(load_audio(wav, 16000), wavfile.read(wav)[1])


def cut(samples, seed):
    """The samples in pieces of any length, empty ones too."""
    generator = np.random.default_rng(seed)
    ends = np.sort(generator.integers(0, samples.shape[-1] + 1, 9))
    return [samples[..., start:end] for start, end in zip([0, *ends], [*ends, samples.shape[-1]], strict=True)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(7001,), (2, 7001)])
def test_pieces_are_heard_as_the_whole(shape, seed):
    samples = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    whole = load_audio(samples, 16000, source_rate_hz=22050)
    pieces = cut(samples, seed)
    assert torch.equal(load_audio(iter(pieces), 16000, source_rate_hz=22050), whole)
    blocks = iter_audio((piece.numpy() for piece in pieces), 16000, 0.01, source_rate_hz=22050)
    assert torch.equal(torch.cat(list(blocks)), whole)


def test_pieces_that_do_not_fit():
    with pytest.raises(ValueError, match="must be given with chunks"):
        load_audio([torch.zeros(5)], 16000)
    with pytest.raises(TypeError, match="must be arrays or tensors; got float"):
        load_audio([0.1, 0.2], 16000, source_rate_hz=16000)
    with pytest.raises(ValueError, match="must all have 2 channels; got 1"):
        load_audio([torch.zeros(2, 5), torch.zeros(5)], 16000, source_rate_hz=16000)
    with pytest.raises(AudioError, match="holds no samples"):
        load_audio([], 16000, source_rate_hz=16000)
