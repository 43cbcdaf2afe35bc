"""The command line: what it writes, what it says, how it ends."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from cospeech import Motion, __version__
from cospeech.cli import main
from cospeech.pipelines import GlobalDiffPipeline

Write = Callable[..., Path]


@pytest.fixture
def model(small_pipeline: GlobalDiffPipeline, tmp_path: Path) -> str:
    small_pipeline.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def write_wav(tmp_path: Path) -> Write:
    def write(name: str = "talk.wav", seconds: float = 1.0, samples: np.ndarray | None = None) -> Path:
        if samples is None:
            samples = 0.3 * np.random.default_rng(0).standard_normal(round(seconds * 16000)).astype(np.float32)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        wavfile.write(path, 16000, samples)
        return path

    return write


def test_generate_writes_every_format(model: str, write_wav: Write, tmp_path: Path, capsys) -> None:
    audio, out = write_wav(), tmp_path / "new" / "out"
    assert main(["generate", str(audio), "--model", model, "--out", str(out), "--format", "npz,bvh,html"]) == 0
    assert capsys.readouterr().out.split() == [str(out / f"talk.{suffix}") for suffix in ("npz", "bvh", "html")]
    motion = Motion.load(out / "talk.npz")
    assert motion.num_frames == Motion.load(out / "talk.bvh").num_frames == 30
    assert "talk" in (out / "talk.html").read_text()[:2000]
    assert sorted(path.name for path in out.iterdir()) == ["talk.bvh", "talk.html", "talk.npz"]


def test_speaker_and_seed_are_used(model: str, write_wav: Write, tmp_path: Path) -> None:
    audio, motions = write_wav(), []
    for i, choice in enumerate([[], ["--speaker", "2"], ["--seed", "3"], []]):
        out = tmp_path / str(i)
        assert main(["generate", str(audio), "--model", model, "--out", str(out), "--quiet", *choice]) == 0
        motions.append(Motion.load(out / "talk.npz"))
    assert motions[0].equal(motions[3])
    assert not motions[0].equal(motions[1])
    assert not motions[0].equal(motions[2])


def test_many_files_and_a_bad_one_among_them(model: str, write_wav: Write, tmp_path: Path, capsys) -> None:
    first, silent, last = write_wav("a.wav"), write_wav("b.wav", samples=np.zeros(16000, np.int16)), write_wav("c.wav")
    out = tmp_path / "out"
    assert main(["generate", str(first), str(silent), str(last), "--model", model, "--out", str(out)]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.npz", "c.npz"]
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "b.wav" in error
    assert "silent" in error


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.int16), "no samples"),
        (np.ones(1, np.int16), "too short"),
        (np.zeros(16000, np.int16), "silent"),
        (np.full(16000, np.nan, np.float32), "NaN"),
    ],
)
def test_unusable_audio_is_one_line_and_nothing_is_written(
    model: str, write_wav: Write, tmp_path: Path, capsys, samples: np.ndarray, message: str
) -> None:
    out = tmp_path / "out"
    assert main(["generate", str(write_wav(samples=samples)), "--model", model, "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("none.wav", None, "no such file"), ("text.wav", b"not audio at all", "not audio"), ("empty.wav", b"", "empty")],
)
def test_files_that_are_no_audio(
    model: str, tmp_path: Path, capsys, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert main(["generate", str(path), "--model", model, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cospeech: ")
    assert message in error.lower()
    assert name in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speaker", "9"], "Unknown speaker 9; choose from 1 to 3."),
        (["--speaker", "0"], "Unknown speaker 0; choose from 1 to 3."),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_wrong_choices_are_usage_errors(
    model: str, write_wav: Write, tmp_path: Path, capsys, options: list[str], message: str
) -> None:
    assert main(["generate", str(write_wav()), "--model", model, "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_named(write_wav: Write, tmp_path: Path, capsys) -> None:
    assert main(["generate", str(write_wav()), "--model", "no-such-model", "--out", str(tmp_path / "out")]) == 2
    assert "No model 'no-such-model'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "no audio given"),
        (["generate", "a.wav", "--format", "npz,fbx"], "choose from npz,bvh,html"),
        (["generate", "x/a.wav", "y/a.mp3"], "several inputs would be written as a.*"),
        (["dance"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_command_lines(capsys, arguments: list[str], message: str) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:  # argparse's own way
        code = int(ended.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_missing_extra_names_the_install_command(
    model: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"ID3\x04" + bytes(200))  # what an MP3 begins with
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert main(["generate", str(path), "--model", model, "--out", str(tmp_path / "out")]) == 3
    assert "pip install 'cospeech[audio]'" in capsys.readouterr().err


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """A disk that is full after so many bytes: the write itself fails."""
    import signal

    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("suffix", ["npz", "bvh", "html"])
def test_a_full_disk_leaves_nothing_half_written(
    model: str, write_wav: Write, tmp_path: Path, capsys, suffix: str
) -> None:
    audio, out = write_wav(), tmp_path / "out"
    with largest_file(2000):
        code = main(["generate", str(audio), "--model", model, "--out", str(out), "--format", suffix])
    assert code == 4
    error = capsys.readouterr().err
    assert f"talk.{suffix}" in error
    assert error.count("\n") == 1
    assert list(out.iterdir()) == []


def test_an_out_folder_that_cannot_be(model: str, write_wav: Write, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["generate", str(write_wav()), "--model", model, "--out", str(tmp_path / "file" / "out")]) == 4
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(model: str, write_wav: Write, tmp_path: Path, capsys) -> None:
    audio, out = write_wav(), tmp_path / "out"
    out.mkdir(mode=0o500)
    assert main(["generate", str(audio), "--model", model, "--out", str(out)]) == 4
    assert "Permission denied" in capsys.readouterr().err


def test_info_tells_what_files_hold(model: str, write_wav: Write, tmp_path: Path, capsys) -> None:
    audio = write_wav(seconds=2.5)
    main(["generate", str(audio), "--model", model, "--out", str(tmp_path), "--quiet", "--format", "npz,bvh"])
    files = [audio, tmp_path / "talk.npz", tmp_path / "talk.bvh", Path(model) / "denoiser" / "model.safetensors", model]
    assert main(["info", *map(str, files)]) == 0
    told = capsys.readouterr().out
    assert "16000 Hz, 1 channel" in told
    assert "2.50 s" in told
    assert told.count("75 frames at 30 Hz") == 2
    assert "GlobalDiffPipeline" in told
    assert "3 speakers" in told


def test_info_goes_on_past_a_bad_file(write_wav: Write, tmp_path: Path, capsys) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK nonsense")
    assert main(["info", str(bad), str(write_wav())]) == 1
    captured = capsys.readouterr()
    assert "bad.npz" in captured.err
    assert "16000 Hz" in captured.out


def test_version_and_help(capsys) -> None:
    for arguments, text in [
        (["--version"], __version__),
        (["--help"], "exit codes"),
        (["generate", "--help"], "examples:"),
        (["info", "--help"], "examples:"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert text in capsys.readouterr().out


def test_the_installed_program_runs() -> None:
    program = Path(sys.executable).with_name("cospeech")
    result = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["cospeech", __version__]
