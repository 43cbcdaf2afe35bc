"""BEAT2 on disk to recordings, and where GlobalDiff cuts windows.

A BEAT2 folder (``beat_english_v2.0.0``) holds ``smplxflame_30/*.npz``, ``wave16k/*.wav``, ``sem/*.txt`` and
``train_test_split.csv``. The speaker's number begins each file's name. BEAT2 itself must be obtained from its authors.

Reference:
    Liu et al., "EMAGE", CVPR 2024 (the data set); Zhang et al., GlobalDiff, AAAI 2026 (windows, semantic scores).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.errors import MotionFileError
from cospeech.io import load_npz
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import local_to_global, mirror_axis_angle, mirror_translation
from cospeech.skeleton.smplx import SMPLX

__all__ = [
    "FRAME_RATE_HZ",
    "SAMPLE_RATE_HZ",
    "MotionWindow",
    "Recording",
    "iter_recordings",
    "load_recording",
    "load_rest_joints",
    "mirror_window",
    "read_semantic_intervals",
    "read_semantic_scores",
    "read_split",
    "window_starts",
]

FRAME_RATE_HZ, SAMPLE_RATE_HZ = 30, 16_000


class Recording(NamedTuple):
    """One file of the data set, cut to what motion and audio both cover.

    Attributes:
        name: The file's name without suffix, such as ``2_scott_0_1_1``.
        speaker: Number in the data set, from 1.
        axis_angle: Global rotations, radians, ``(F, J, 3)``, float32; of BEAT, version 1, as ``BeatSource`` says.
        translation: Metres, ``(F, 3)``.
        expressions: ``(F, 100)``.
        betas: Body shape, ``(300,)``.
        semantic: How much each frame's gesture means, ``(F,)``; zero where the data set says nothing.
        waveform: 16 kHz mono, ``(S,)``.
        rate_hz: Frames per second.
        departure: How far each frame's angles are from the mean pose, degrees, mean over all angles, ``(F,)``; None
            where nobody has measured.
    """

    name: str
    speaker: int
    axis_angle: Tensor
    translation: Tensor
    expressions: Tensor
    betas: Tensor
    semantic: Tensor
    waveform: Tensor
    rate_hz: float = FRAME_RATE_HZ
    departure: Tensor | None = None


class MotionWindow(NamedTuple):
    """One window, or with a leading axis a batch of them.

    Attributes:
        axis_angle: Rotations as in the recording, global ones but for BEAT, version 1; radians, ``(T, J, 3)``.
        translation: Metres, ``(T, 3)``.
        expressions: ``(T, E)``.
        semantic: ``(T,)``.
        waveform: Samples, ``(S,)``.
        speaker: Number in the data set, an integer tensor without axes.
        features: Of the speech, ``(T, C)``; none, ``(T, 0)``, where they are not stored.
    """

    axis_angle: Tensor
    translation: Tensor
    expressions: Tensor
    semantic: Tensor
    waveform: Tensor
    speaker: Tensor
    features: Tensor


def read_split(root: str | os.PathLike[str], split: str) -> list[str]:
    """Names of the recordings of a split, in the order of ``train_test_split.csv``.

    Args:
        root: The BEAT2 folder.
        split: "train", "val", "test" or "additional".

    Raises:
        FileNotFoundError: If the table is missing.
        ValueError: If it lacks a column, or has no such split; the splits that it has are listed.
    """
    with (Path(root) / "train_test_split.csv").open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        missing = {"id", "type"} - set(table.fieldnames or ())
        if missing:
            raise ValueError(f"{file.name}: expected the columns id and type; missing: {', '.join(sorted(missing))}.")
        rows = [(row["id"], row["type"] or "") for row in table]
    names = [name for name, kind in rows if kind == split]
    if not names:
        raise ValueError(f"Unknown split {split!r}; choose from {', '.join(sorted({kind for _, kind in rows}))}.")
    return names


def iter_recordings(root: str | os.PathLike[str], split: str) -> Iterator[Recording]:
    """The recordings of a split, one at a time; arguments as for ``read_split``."""
    for name in read_split(root, split):
        yield load_recording(root, name)


def load_recording(root: str | os.PathLike[str], name: str) -> Recording:
    """One recording of a BEAT2 folder.

    Rotations become global in float64, as published, once per frame and not once per window that holds it.

    Raises:
        OSError: If a file is missing; only the semantic scores may be.
        MotionFileError: If the motion is not what BEAT2 holds.
    """
    root = Path(root)
    path = root / "smplxflame_30" / f"{name}.npz"
    arrays = load_npz(path)
    if arrays.skeleton.parents != SMPLX.parents or arrays.expressions is None or arrays.rate_hz != FRAME_RATE_HZ:
        raise MotionFileError(f"{path}: expected 55 joints and expressions at {FRAME_RATE_HZ} Hz.")
    speaker = name.split("_")[0]
    if not speaker.isdigit():
        raise MotionFileError(f"{path}: expected a name that begins with the speaker's number, such as 2_scott_0_1_1.")
    waveform = load_audio(root / "wave16k" / f"{name}.wav", SAMPLE_RATE_HZ)
    num_frames = min(len(arrays.translation), int(len(waveform) / SAMPLE_RATE_HZ * FRAME_RATE_HZ))
    local = axis_angle_to_matrix(arrays.local_axis_angle[:num_frames].double())
    betas = torch.zeros(300) if arrays.betas is None else arrays.betas
    return Recording(
        name=name,
        speaker=int(speaker),
        axis_angle=matrix_to_axis_angle(local_to_global(local, SMPLX)).float(),
        translation=arrays.translation[:num_frames].float(),
        expressions=arrays.expressions[:num_frames].float(),
        betas=betas.float(),
        semantic=read_semantic_scores(root / "sem" / f"{name}.txt", num_frames),
        waveform=waveform,
    )


def read_semantic_scores(path: str | os.PathLike[str], num_frames: int) -> Tensor:
    """The score of each frame, ``(F,)`` float32, from a BEAT annotation; zeros if there is no file or no score in it.

    Each line gives a label, start and end in seconds, a duration and a score. Between the intervals the score goes over
    in a straight line; frame times are ``linspace(0, F / 30, F)``, as published.

    Raises:
        MotionFileError: If a line holds no numbers where they should be.
    """
    from scipy.interpolate import interp1d

    points = []
    for start, end, score in read_semantic_intervals(path):
        points += [(start + 1e-4, score), (end - 1e-4, score)]
    if not points:
        return torch.zeros(num_frames)
    scores = interp1d(*zip(*points, strict=True), fill_value="extrapolate")
    return torch.from_numpy(np.asarray(scores(np.linspace(0, num_frames / FRAME_RATE_HZ, num_frames)))).float()


def read_semantic_intervals(path: str | os.PathLike[str]) -> list[tuple[float, float, float]]:
    """Start and end in seconds, and the score, of each line of a BEAT annotation; none if there is no file.

    Raises:
        MotionFileError: If a line holds no numbers where they should be.
    """
    found = []
    if Path(path).exists():
        for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            fields = line.split("\t") if "\t" in line else line.split()
            if len(fields) >= 5:
                try:
                    start, end, score = float(fields[1]), float(fields[2]), float(fields[4])
                except ValueError:
                    start = end = score = float("nan")
                if not np.isfinite([start, end, score]).all():
                    raise MotionFileError(f"{path}: expected start, end and score in line {number}; got {line!r}.")
                found.append((start, end, score))
    return found


def window_starts(num_frames: int, *, window_frames: int = 60, stride_frames: int = 20) -> range:
    """First frames of all windows that fit, none of them padded.

    Example:
        >>> list(window_starts(146))
        [0, 20, 40, 60, 80]
    """
    return range(0, max(0, num_frames - window_frames + 1), stride_frames)


def mirror_window(window: MotionWindow) -> MotionWindow:
    """The window with left and right exchanged; not its expressions, which no rule mirrors, nor its sound.

    A true mirror, midline included. The published training flips without the midline joints: see
    ``cospeech.representations.globaldiff_flip``.
    """
    return window._replace(
        axis_angle=mirror_axis_angle(window.axis_angle, SMPLX), translation=mirror_translation(window.translation)
    )


def load_rest_joints(path: str | os.PathLike[str]) -> dict[int, Tensor]:
    """Rest joints ``(J, 3)`` in metres of each speaker, from GlobalDiff's ``rest_joint_position.mat``.

    Raises:
        MotionFileError: If it is no such file.
    """
    from scipy.io import loadmat

    joints, path = SMPLX.num_joints, os.fspath(path)
    with open(path, "rb") as file:
        try:
            content = loadmat(file)
        except Exception as error:  # SciPy's parser raises whatever the bytes lead it to
            raise MotionFileError(f"{path}: expected a MATLAB file; {type(error).__name__}: {error}.") from error
    found = {}
    for name, value in content.items():
        if name.isdecimal():
            if value.shape != (joints, 3) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
                got = f"{value.dtype} {value.shape}"
                raise MotionFileError(f"{path}: expected {joints} x 3 finite numbers for speaker {name}; got {got}.")
            # SciPy gives columns first; what is wanted is rows, in memory of our own.
            found[int(name)] = torch.from_numpy(np.array(value, dtype=np.float32, order="C"))
    if not found:
        raise MotionFileError(f"{path}: expected one (55, 3) array per speaker, named by its number.")
    return found
