"""Folders of generated and recorded clips, paired by name; nothing is dropped without being named.

A generated clip belongs to the recorded one of the same file name, up to a prefix ``res_``, ``gt_`` or ``pred_``, as
the papers release them. Audio has the recorded clip's name. What is read and measured of a pair, each kind of data says
on its own page.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol as Interface

import torch

from cospeech.errors import EvaluationError
from cospeech.evaluation.clips import ClipMeasures

__all__ = ["ClipFiles", "ClipReader", "Problem", "find_clips", "measure_clips"]

PREFIXES = ("res_", "gt_", "pred_")
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
SEMANTIC_SUFFIXES = (".txt", ".csv")


@dataclass(frozen=True)
class ClipFiles:
    """Where one clip lies.

    Attributes:
        name: Of the clip.
        generated: Its motion.
        reference: The recorded one.
        audio: Its sound.
        semantic: How meaningful its moments are.
        repeats: Other generated motions for the same input.
    """

    name: str
    generated: Path
    reference: Path
    audio: Path | None = None
    semantic: Path | None = None
    repeats: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A clip that could not be measured, and why."""

    name: str
    kind: (
        str  # missing, without reference, without audio or semantic, unreadable, NaN, too short, wrong rate or skeleton
    )
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} ({self.detail})"


def clip_name(path: Path) -> str:
    """The name that a file's clip goes by.

    Example:
        >>> clip_name(Path("out/res_2_scott_0_1_1.npz"))
        '2_scott_0_1_1'
    """
    for prefix in PREFIXES:
        if path.stem.startswith(prefix):
            return path.stem.removeprefix(prefix)
    return path.stem


class ClipReader(Interface):
    """What a kind of data needs to be measured from folders; one page each.

    Reading and measuring are one call, so that it can run in another process; it must be picklable.
    """

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of clips in the order of their names, and what has no partner."""

    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Measure one clip, or say why that cannot be."""

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """What needs all clips at once."""

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""

    def notes(self) -> list[str]:
        """What differs from the published numbers."""

    def extractor_hash(self) -> str | None:
        """SHA-256 of the feature extractors' weights; None without."""


def find_clips(
    generated: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    audio: str | os.PathLike[str] | None = None,
    *,
    semantic: str | os.PathLike[str] | None = None,
    suffixes: tuple[str, ...] = (".npz",),
    nested: bool = False,
) -> tuple[list[ClipFiles], list[Problem]]:
    """Pairs of clips in the order of their names, and what has no partner.

    Args:
        generated: Folder of generated motion.
        reference: Folder of recorded motion.
        audio: Folder of audio files; without, no clip has audio and that is no problem.
        semantic: Folder of semantic scores, likewise.
        suffixes: Of motion files.
        nested: Whether to look in folders within these folders.

    Raises:
        EvaluationError: If a folder is none, holds no motion, or two files go by one name.
    """
    ours, theirs = (named_files(folder, suffixes, "motion", nested=nested) for folder in (generated, reference))
    problems = [Problem(name, "missing", f"no file in {generated}") for name in theirs if name not in ours]
    problems += [Problem(name, "without reference", f"no file in {reference}") for name in ours if name not in theirs]
    names = [name for name in sorted(ours) if name in theirs]
    others: dict[str, dict[str, Path]] = {"audio": {}, "semantic": {}}
    for kind, folder, endings in (("audio", audio, AUDIO_SUFFIXES), ("semantic", semantic, SEMANTIC_SUFFIXES)):
        if folder is None:
            continue
        others[kind] = named_files(folder, endings, kind, nested=nested)
        problems += [
            Problem(name, f"without {kind}", f"no file in {folder}") for name in names if name not in others[kind]
        ]
        names = [name for name in names if name in others[kind]]
    pairs = [
        ClipFiles(name, ours[name], theirs[name], others["audio"].get(name), others["semantic"].get(name))
        for name in names
    ]
    return pairs, sorted(problems, key=lambda problem: problem.name)


def measure_clips(
    clips: Sequence[ClipFiles],
    measure: Callable[[ClipFiles], ClipMeasures | Problem],
    *,
    num_processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ClipMeasures], list[Problem]]:
    """Measure every clip; those that cannot be are returned as problems.

    Args:
        clips: What a reader found.
        measure: The reader.
        num_processes: In parallel; each loads what it needs. The numbers do not depend on it.
        progress: Called with the clips done and all clips.
    """
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be 1 or more; got {num_processes}.")
    if num_processes == 1 or len(clips) < 2:
        return _collect(map(measure, clips), len(clips), progress)
    # Spawned, since a forked process inherits the thread pools of torch in a state that may lock.
    with ProcessPoolExecutor(
        min(num_processes, len(clips)), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        return _collect(pool.map(measure, clips), len(clips), progress)


def _collect(
    results: Iterable[ClipMeasures | Problem], total: int, progress: Callable[[int, int], None] | None
) -> tuple[list[ClipMeasures], list[Problem]]:
    measured: list[ClipMeasures] = []
    problems: list[Problem] = []
    for done, result in enumerate(results, start=1):
        if isinstance(result, Problem):
            problems.append(result)
        else:
            measured.append(result)
        if progress is not None:
            progress(done, total)
    return measured, problems


def _one_thread() -> None:
    torch.set_num_threads(1)  # one clip per process already fills the cores


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_hash(networks: Iterable[torch.nn.Module]) -> str:
    """SHA-256 over names and values of all weights, in hexadecimal."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def named_files(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...], kind: str, *, nested: bool = False
) -> dict[str, Path]:
    """Files by the names of their clips.

    Raises:
        EvaluationError: If the folder is none or holds none, or two files go by one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} must be a folder of {kind} files.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if nested else folder.iterdir()):
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        name = clip_name(path)
        if name in found:
            raise EvaluationError(f"{folder} holds two files of the clip {name}: {found[name].name}, {path.name}.")
        found[name] = path
    if not found:
        raise EvaluationError(f"{folder} holds no {kind} files ({', '.join(suffixes)}).")
    return found
