"""Recordings to shards: in parallel, resumable, each bad take named and left out by rule.

A shard holds the windows of some takes (``cospeech.data.shards``). Its name is made of what it depends on: the takes,
the state of their files, the settings. So preparing again does what is missing and nothing else, a kill leaves whole
shards only, and what no longer belongs is removed. ``index.json`` lists shards with their SHA-256, ``report.json``
the takes that were left out and why.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cospeech.data.beat2 import SAMPLE_RATE_HZ, Recording
from cospeech.data.hearing import feature_dim, make_hearing
from cospeech.data.jobs import run_jobs
from cospeech.data.shards import write_shard
from cospeech.data.sources import Source
from cospeech.errors import CospeechError, MotionFileError
from cospeech.io import atomic_path

__all__ = ["PreparedReport", "ShardMaker", "TakeRules", "WindowMaker", "broken_shards", "prepare", "shard_index"]


@dataclass(frozen=True, kw_only=True)
class TakeRules:
    """Which takes are left out.

    Attributes:
        min_seconds: Shorter ones.
        max_speed: Those with a frame to frame step of the root beyond this, metres a second: a tracker that jumped.
        max_silence: Those whose sound is digital silence for more than this share of the time.
    """

    min_seconds: float = 2.0
    max_speed: float = 15.0
    max_silence: float = 0.95

    def fault(self, recording: Recording) -> str:
        """Why a recording is left out; "" where it is not."""
        for name in ("axis_angle", "translation", "expressions", "semantic", "waveform"):
            if not bool(getattr(recording, name).isfinite().all()):
                return f"not finite: {name}"
        frames, samples, rate_hz = len(recording.translation), len(recording.waveform), recording.rate_hz
        if frames < self.min_seconds * rate_hz:
            return f"short: {frames / rate_hz:.2f} s, at least {self.min_seconds:g} s are wanted"
        if samples < frames / rate_hz * SAMPLE_RATE_HZ - SAMPLE_RATE_HZ / rate_hz:
            return f"sound of {samples / SAMPLE_RATE_HZ:.2f} s under motion of {frames / rate_hz:.2f} s"
        speed = float(recording.translation.diff(dim=0).norm(dim=-1).max()) * rate_hz
        if speed > self.max_speed:
            return f"jumps: the root moves at {speed:.1f} m/s, at most {self.max_speed:g} are believed"
        if float((recording.waveform == 0).float().mean()) > self.max_silence:
            return "silent: the sound is zero nearly everywhere"
        return ""


class ShardMaker(Protocol):
    """How takes become a shard; a frozen dataclass, since its ``repr`` is part of the shard's name."""

    def fault(self, take: Any) -> str:
        """Why a take is left out; "" where it is not."""

    def write(self, takes: list[Any], path: Path) -> int:
        """Write the shard, if there is anything to write; the number of windows or clips."""


@dataclass(frozen=True, kw_only=True)
class WindowMaker:
    """Recordings to windows of motion and speech; read them with ``WindowShards``.

    Attributes:
        window_frames: Frames of a window.
        stride_frames: From one window to the next.
        features: Of the speech, a name of ``cospeech.data.hearing``.
        least_departure: Windows whose angles are nearer than this to the mean pose, degrees, are left out, where the
            source measures it; see ``BeatSource``.
        rules: Which takes are left out.
    """

    window_frames: int = 60
    stride_frames: int = 20
    features: str = "none"
    least_departure: float = 0.0
    rules: TakeRules = TakeRules()

    def __post_init__(self) -> None:
        feature_dim(self.features)  # raises where there are none of this name

    def fault(self, take: Recording) -> str:
        """See ``ShardMaker``."""
        return self.rules.fault(take)

    def write(self, takes: list[Recording], path: Path) -> int:
        """See ``ShardMaker``."""
        if not takes:
            return 0
        return write_shard(
            takes,
            path,
            window_frames=self.window_frames,
            stride_frames=self.stride_frames,
            features=make_hearing(self.features, takes[0].rate_hz),
            least_departure=self.least_departure,
        )


class PreparedReport(NamedTuple):
    """What came of a preparation.

    Attributes:
        windows: How many there are.
        takes: How many were taken.
        left_out: Names of the others, and why.
        made: Shards that were written now; the others were there.
    """

    windows: int
    takes: int
    left_out: dict[str, str]
    made: int


class _Job(NamedTuple):
    source: Source
    names: tuple[str, ...]
    maker: ShardMaker
    path: Path


def prepare(
    source: Source,
    folder: str | os.PathLike[str],
    maker: ShardMaker | None = None,
    *,
    takes_per_shard: int = 16,
    workers: int = 0,
    progress: bool | None = None,
) -> PreparedReport:
    """Make the shards of a source that are not there yet.

    Args:
        source: Where takes come from.
        folder: Of the shards; made if missing. Shards of other settings or takes in it are removed.
        maker: What becomes of takes; ``WindowMaker()`` by default.
        takes_per_shard: Takes in one file.
        workers: Processes; 0 works here.
        progress: Whether to draw a bar; None draws one on a terminal only.

    Raises:
        MotionFileError: If no take is left.
    """
    maker, folder = maker or WindowMaker(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = source.names()
    jobs = []
    for number, first in enumerate(range(0, len(names), takes_per_shard)):
        group = names[first : first + takes_per_shard]
        state = [repr(maker), *(f"{name}\n{source.fingerprint(name)}" for name in group)]
        key = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
        jobs.append(_Job(source, tuple(group), maker, folder / f"{number:05d}-{key}.safetensors"))
    missing = [job for job in jobs if not _entry_path(job.path).exists()]
    run_jobs(_make_shard, missing, workers=workers, progress=progress, unit="shards")
    entries = [json.loads(_entry_path(job.path).read_text(encoding="utf-8")) for job in jobs]
    wanted = {path for job in jobs for path in (job.path, _entry_path(job.path))}
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.shard.json")]:
        if path not in wanted:
            path.unlink()
    left_out = {name: reason for entry in entries for name, reason in entry["left_out"].items()}
    shards = [{key: entry[key] for key in ("file", "sha256", "windows")} for entry in entries if entry["windows"]]
    report = PreparedReport(
        sum(e["windows"] for e in entries), sum(e["takes"] for e in entries), left_out, len(missing)
    )
    _write_json(folder / "index.json", {"format": "cospeech-index-1", "maker": repr(maker), "shards": shards})
    _write_json(folder / "report.json", {"takes": report.takes, "windows": report.windows, "left_out": left_out})
    if not report.windows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise MotionFileError(f"{folder}: no take could be used ({reasons or 'the source is empty'}).")
    return report


def shard_index(text: str) -> list[dict[str, Any]]:
    """The shards of an ``index.json``: ``file``, ``sha256`` and ``windows`` of each.

    Raises:
        MotionFileError: If the text is no such index.
    """
    try:
        shards = json.loads(text)["shards"]
        return [
            {"file": Path(s["file"]).name, "sha256": str(s["sha256"]), "windows": int(s["windows"])} for s in shards
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise MotionFileError(
            f"Expected the index.json of prepared shards; {type(error).__name__}: {error}."
        ) from error


def broken_shards(folder: str | os.PathLike[str]) -> list[str]:
    """The shards of a prepared folder that are missing or differ from their checksum."""
    folder = Path(folder)
    shards = shard_index((folder / "index.json").read_text(encoding="utf-8"))
    return [shard["file"] for shard in shards if file_digest(folder / shard["file"]) != shard["sha256"]]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; "" where there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def _make_shard(job: _Job) -> None:
    left_out: dict[str, str] = {}
    taken = []
    for name in job.names:
        try:
            take = job.source.load(name)
        except (CospeechError, OSError, ValueError, EOFError, KeyError) as error:
            left_out[name] = f"unreadable: {' '.join(str(error).split())}"
            continue
        fault = job.maker.fault(take)
        if fault:
            left_out[name] = fault
        else:
            taken.append(take)
    windows = job.maker.write(taken, job.path)
    digest = file_digest(job.path) if windows else ""
    entry = {"file": job.path.name, "sha256": digest, "windows": windows, "takes": len(taken), "left_out": left_out}
    _write_json(_entry_path(job.path), entry)  # last: a shard without it is made anew


def _entry_path(path: Path) -> Path:
    return path.with_suffix(".shard.json")


def _write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
