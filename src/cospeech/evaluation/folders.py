"""Folders of generated and recorded clips, paired by name; nothing is dropped without being named.

A generated clip belongs to the recorded one of the same file name, up to a prefix ``res_``, ``gt_`` or ``pred_``, as
the papers release them. Audio has the recorded clip's name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.errors import CospeechError, EvaluationError
from cospeech.evaluation.clips import ClipMeasures, measure_clip
from cospeech.evaluation.protocols import Protocol
from cospeech.models import SkeletonAutoencoder
from cospeech.motion import Motion

__all__ = ["ClipFiles", "Problem", "find_clips", "measure_folders"]

PREFIXES = ("res_", "gt_", "pred_")
MOTION_SUFFIXES = (".npz",)
AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
MIN_FRAMES = 64  # less has no window, no feature and no spectrum
_AUDIO_HZ = 16_000


@dataclass(frozen=True)
class ClipFiles:
    """Where one clip lies."""

    name: str
    generated: Path
    reference: Path
    audio: Path | None = None


@dataclass(frozen=True)
class Problem:
    """A clip that could not be measured, and why."""

    name: str
    kind: str  # missing, without reference, without audio, unreadable, NaN, too short, wrong rate, wrong skeleton
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


def find_clips(
    generated: str | os.PathLike[str], reference: str | os.PathLike[str], audio: str | os.PathLike[str] | None = None
) -> tuple[list[ClipFiles], list[Problem]]:
    """Pairs of clips in the order of their names, and what has no partner.

    Args:
        generated: Folder of generated ``.npz``.
        reference: Folder of recorded ``.npz``.
        audio: Folder of audio files; without, no clip has audio and that is no problem.

    Raises:
        EvaluationError: If a folder is none, holds no motion, or two files go by one name.
    """
    ours, theirs = (_files(folder, MOTION_SUFFIXES, "motion") for folder in (generated, reference))
    sounds = {} if audio is None else _files(audio, AUDIO_SUFFIXES, "audio")
    problems = [Problem(name, "missing", f"no file in {generated}") for name in theirs if name not in ours]
    problems += [Problem(name, "without reference", f"no file in {reference}") for name in ours if name not in theirs]
    pairs = [
        ClipFiles(name, path, theirs[name], sounds.get(name)) for name, path in sorted(ours.items()) if name in theirs
    ]
    if audio is not None:
        problems += [Problem(clip.name, "without audio", f"no file in {audio}") for clip in pairs if not clip.audio]
        pairs = [clip for clip in pairs if clip.audio]
    return pairs, sorted(problems, key=lambda problem: problem.name)


def measure_folders(
    clips: Sequence[ClipFiles],
    protocol: Protocol,
    *,
    extractor: SkeletonAutoencoder | None = None,
    rest_joints: Tensor | None = None,
    hand_mean: Tensor | None = None,
    num_processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ClipMeasures], list[Problem]]:
    """Measure every clip; those that cannot be are returned as problems.

    Args:
        clips: What ``find_clips`` found.
        protocol: For BEAT2 data.
        extractor: See ``measure_clip``.
        rest_joints: See ``measure_clip``.
        hand_mean: See ``measure_clip``.
        num_processes: In parallel; each loads what it needs. The numbers do not depend on it.
        progress: Called with the clips done and all clips.
    """
    if num_processes < 1:
        raise ValueError(f"`num_processes` must be 1 or more; got {num_processes}.")
    measure = partial(_measure, protocol=protocol, extractor=extractor, rest_joints=rest_joints, hand_mean=hand_mean)
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


@torch.inference_mode()
def _measure(
    clip: ClipFiles,
    *,
    protocol: Protocol,
    extractor: SkeletonAutoencoder | None,
    rest_joints: Tensor | None,
    hand_mean: Tensor | None,
) -> ClipMeasures | Problem:
    motions = []
    for path in (clip.generated, clip.reference):
        try:
            motion = Motion.load(path)
        except (CospeechError, ValueError, OSError) as error:
            kind = "NaN" if "NaN" in str(error) else "unreadable"
            return Problem(clip.name, kind, str(error))
        if motion.rate_hz != protocol.rate_hz:
            return Problem(clip.name, "wrong rate", f"{path} has {motion.rate_hz:g} Hz, not {protocol.rate_hz:g}")
        if motion.skeleton.num_joints != 55:
            return Problem(clip.name, "wrong skeleton", f"{path} has {motion.skeleton.num_joints} joints, not 55")
        if motion.num_frames < MIN_FRAMES:
            return Problem(clip.name, "too short", f"{path} has {motion.num_frames} frames, not {MIN_FRAMES}")
        motions.append(motion)
    waveform = None
    if clip.audio is not None and protocol.beat is not None:
        try:
            waveform = load_audio(clip.audio, _AUDIO_HZ)
        except (CospeechError, OSError) as error:
            return Problem(clip.name, "unreadable", str(error))
    return measure_clip(
        clip.name,
        motions[0],
        motions[1],
        protocol,
        waveform=waveform,
        extractor=extractor,
        rest_joints=rest_joints,
        hand_mean=hand_mean,
    )


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: str | os.PathLike[str], suffixes: tuple[str, ...], kind: str) -> dict[str, Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} must be a folder of {kind} files.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        name = clip_name(path)
        if name in found:
            raise EvaluationError(f"{folder} holds two files of the clip {name}: {found[name].name}, {path.name}.")
        found[name] = path
    if not found:
        raise EvaluationError(f"{folder} holds no {kind} files ({', '.join(suffixes)}).")
    return found
