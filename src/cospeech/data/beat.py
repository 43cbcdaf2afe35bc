"""BEAT (version 1) on disk to recordings at 15 Hz: 47 joints, 51 ARKit weights, speech, what gestures mean.

Two layouts are read. A cache as the programs for BEAT make it (``beat_4english_15_141``) holds ``bvh_rot/*.bvh``, rows
of 141 angles at 15 Hz, ``facial52/*.json``, ``wave16k/*.npy`` or ``.wav``, and ``sem/*.txt``. As BEAT itself is given
out, ``.bvh`` at 120 Hz, ``.json`` at 60 Hz, ``.wav`` and ``.txt`` of a take lie beside each other in a folder for each
speaker. The speaker's number begins each file's name. BEAT must be obtained from its authors.

Reference:
    Liu et al., "BEAT", ECCV 2022 (the data set); Chen et al., "DiffSHEG", CVPR 2024 (clocks, angles and scores are
    those of its published program).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.data.beat2 import SAMPLE_RATE_HZ, Recording, read_semantic_intervals
from cospeech.data.sources import files_state
from cospeech.errors import MotionFileError
from cospeech.io import load_arkit_json, load_beat_bvh
from cospeech.motion import frame_positions, sample_linear, sample_rotations
from cospeech.rotations import euler_to_matrix, matrix_to_axis_angle

__all__ = ["BEAT_RATE_HZ", "BeatSource", "beat_axis_angle", "beat_recording", "beat_semantic_scores"]

BEAT_RATE_HZ = 15
_MOST_DIFFERENCE = 2  # times the shortest: a stream that is longer has another rate than it is held to have


@dataclass(frozen=True, kw_only=True)
class BeatSource:
    """A BEAT folder of either layout, cut to whole seconds as published.

    Its recordings hold *local* rotations of ``cospeech.skeleton.BEAT_GESTURE_JOINTS`` as ``beat_axis_angle`` writes
    them, no translation, and the weights of ``BEAT_ARKIT_NAMES``.

    Attributes:
        folder: Such as ``beat_4english_15_141``, or ``beat_english_v0.2.1``.
        split: Folder within it: "train", "val" or "test" of a cache; "" for the folder itself.
        speakers: Numbers of those to keep; () keeps all.
        mean_pose: ``.npy`` of 141 mean angles, degrees, that ``departure`` is measured from. By default that of the
            cache (``bvh_rot/bvh_mean.npy``), or else the mean of each take.
    """

    folder: str
    split: str = ""
    speakers: tuple[int, ...] = ()
    mean_pose: str = ""

    def names(self) -> list[str]:
        """See ``Source``: paths below the split's folder, without suffix.

        Raises:
            MotionFileError: If there is no such folder, or a file's name begins with no number.
        """
        if not self._root.is_dir():
            raise MotionFileError(f"{self._root}: expected a folder of BEAT; there is none.")
        found = self._motions.glob("*.bvh" if self._is_cache else "**/*.bvh")
        names = sorted(path.relative_to(self._motions).with_suffix("").as_posix() for path in found)
        return [name for name in names if not self.speakers or _speaker(name) in self.speakers]

    def load(self, name: str) -> Recording:
        """See ``Source``.

        Raises:
            OSError: If a file is missing; only the semantic scores may be.
            CospeechError: If a file is not what BEAT holds, or motion, face and sound differ in length beyond belief.
        """
        files = self._files(name)
        angles = load_beat_bvh(files.motion)
        if angles.first_frame:
            raise MotionFileError(f"{files.motion}: expected a recording; it lacks frame 0, as generated motion does.")
        weights, face_hz = load_arkit_json(files.face)
        waveform = _load_waveform(files.sound)
        places = frame_positions(len(angles.euler_degrees), angles.rate_hz, BEAT_RATE_HZ)
        face_places = frame_positions(len(weights), face_hz, BEAT_RATE_HZ)
        lengths = [len(places) / BEAT_RATE_HZ, len(face_places) / BEAT_RATE_HZ, len(waveform) / SAMPLE_RATE_HZ]
        if max(lengths) > _MOST_DIFFERENCE * min(lengths):
            told = ", ".join(f"{kind} {length:.1f} s" for kind, length in zip(_KINDS, lengths, strict=True))
            raise MotionFileError(f"{name}: expected one length of all; got {told}. Has one of them another rate?")
        places = places[: BEAT_RATE_HZ * int(min(lengths))]
        degrees, mean = angles.euler_degrees, self._mean_degrees()
        departure = (degrees - (degrees.mean(0) if mean is None else mean)).abs().mean(1)
        if torch.equal(places, places.round()):  # 120 Hz and 15: nothing lies between two frames
            degrees, places = degrees[places.long()], torch.arange(len(places), dtype=torch.float64)
        radians = torch.deg2rad(rearrange(degrees, "t (j angle) -> t j angle", angle=3))
        return beat_recording(
            sample_rotations(matrix_to_axis_angle(euler_to_matrix(radians, "XYZ")), places),
            sample_linear(weights, face_places),
            waveform,
            name=name,
            speaker=_speaker(name),
            semantic=beat_semantic_scores(files.scores, len(places)),
            departure=sample_linear(departure, frame_positions(len(departure), angles.rate_hz, BEAT_RATE_HZ)),
        )

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        mean = self._mean_path()
        return files_state(*self._files(name), *([] if mean is None else [mean]))

    @property
    def _root(self) -> Path:
        return Path(self.folder) / self.split

    @property
    def _is_cache(self) -> bool:
        return (self._root / "bvh_rot").is_dir()

    @property
    def _motions(self) -> Path:
        return self._root / "bvh_rot" if self._is_cache else self._root

    def _files(self, name: str) -> _Files:
        root = self._root
        if not self._is_cache:
            return _Files(*(root / f"{name}.{kind}" for kind in ("bvh", "json", "wav", "txt")))
        sound = root / "wave16k" / f"{name}.npy"
        sound = sound if sound.exists() else sound.with_suffix(".wav")
        motion, face = root / "bvh_rot" / f"{name}.bvh", root / "facial52" / f"{name}.json"
        return _Files(motion, face, sound, root / "sem" / f"{name}.txt")

    def _mean_path(self) -> Path | None:
        if self.mean_pose:
            return Path(self.mean_pose)
        path = self._root / "bvh_rot" / "bvh_mean.npy"
        return path if path.exists() else None

    def _mean_degrees(self) -> Tensor | None:
        path = self._mean_path()
        if path is None:
            return None
        mean = _load_array(path)
        if mean.shape != (141,) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
            raise MotionFileError(f"{path}: expected 141 finite angles; got {mean.dtype} {mean.shape}.")
        return torch.from_numpy(mean.astype(np.float64))


class _Files(NamedTuple):
    motion: Path
    face: Path
    sound: Path
    scores: Path


_KINDS = ("motion", "face", "sound")


def beat_recording(
    axis_angle: Tensor,
    weights: Tensor,
    waveform: Tensor,
    *,
    name: str,
    speaker: int,
    semantic: Tensor,
    departure: Tensor | None = None,
) -> Recording:
    """A recording at 15 Hz, cut to the whole seconds that motion, face and sound all cover.

    Args:
        axis_angle: Local rotations of the 47 gesture joints, ``(T, 47, 3)``; written as ``beat_axis_angle`` has them.
        weights: ``(T, 51)``.
        waveform: 16 kHz, ``(S,)``.
        name: Of the recording.
        speaker: Number, from 1.
        semantic: ``(T,)``.
        departure: See ``Recording``.
    """
    seconds = min(len(axis_angle) // BEAT_RATE_HZ, len(weights) // BEAT_RATE_HZ, len(waveform) // SAMPLE_RATE_HZ)
    count = seconds * BEAT_RATE_HZ
    return Recording(
        name=name,
        speaker=speaker,
        axis_angle=beat_axis_angle(axis_angle[:count]).float(),
        translation=torch.zeros(count, 3),
        expressions=weights[:count].float(),
        betas=torch.zeros(300),
        semantic=semantic[:count].float(),
        waveform=waveform[: seconds * SAMPLE_RATE_HZ].float(),
        rate_hz=BEAT_RATE_HZ,
        departure=None if departure is None else departure[:count].float(),
    )


def beat_axis_angle(axis_angle: Tensor) -> Tensor:
    """The same rotations, ``(..., 3)``, on the side of the quaternion sphere that the published training has them.

    There the largest of a quaternion's four numbers is positive, so a turn beyond a right angle, at some axes, is
    written as its rest to a full turn, about the axis reversed. Published means and deviations are of these numbers.

    Example:
        >>> turn = torch.tensor([0.0, 0.0, -2.0])  # 2 rad about -Z; w = cos 1 is less than |z| = sin 1
        >>> beat_axis_angle(turn)[2]
        tensor(4.2832)
    """
    angle = axis_angle.norm(dim=-1, keepdim=True)
    leading = axis_angle.gather(-1, axis_angle.abs().argmax(-1, keepdim=True))
    imaginary = leading / angle.clamp_min(1e-30) * (angle / 2).sin()
    return torch.where(-imaginary > (angle / 2).cos(), axis_angle * (1 - 2 * math.pi / angle), axis_angle)


def beat_semantic_scores(path: str | os.PathLike[str], num_frames: int) -> Tensor:
    """The score of each frame at 15 Hz, ``(F,)`` float32: that of the first interval it lies in, or 0.

    The second half of a take that was cut in two (its name ends in ``_b``) begins 30 or 300 s into its annotation, by
    the number in its name, as published.

    Raises:
        MotionFileError: If a line holds no numbers where they should be.
    """
    fields = Path(path).stem.split("_")
    late = 0.0
    if fields[-1] == "b" and len(fields) > 2 and fields[-3].isdigit():
        late = 30.0 if int(fields[-3]) % 2 == 0 else 300.0
    times = late + torch.arange(num_frames, dtype=torch.float64) / BEAT_RATE_HZ
    scores = torch.zeros(num_frames)
    for start, end, score in reversed(read_semantic_intervals(path)):  # the first one has the last word
        scores[(start <= times) & (times <= end)] = score
    return scores


def _speaker(name: str) -> int:
    number = name.rpartition("/")[2].split("_")[0]
    if not number.isdecimal():
        raise MotionFileError(f"{name}: expected a name that begins with the speaker's number, as 2_scott_0_1_1.")
    return int(number)


def _load_waveform(path: Path) -> Tensor:
    if path.suffix != ".npy":
        return load_audio(path, SAMPLE_RATE_HZ)
    samples = _load_array(path)
    if samples.ndim != 1 or not (samples.dtype.kind == "f" or samples.dtype in (np.int16, np.int32)):
        raise MotionFileError(
            f"{path}: expected samples (S,), int16, int32 or float; got {samples.dtype} {samples.shape}."
        )
    return load_audio(np.array(samples), SAMPLE_RATE_HZ, source_rate_hz=SAMPLE_RATE_HZ)


def _load_array(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """An array in memory of its file, so that a header cannot ask for more than there is; never a pickle."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise MotionFileError(f"{path}: expected an array of numbers; {error}") from error
    if not isinstance(array, np.ndarray):
        raise MotionFileError(f"{path}: expected one array; got an archive.")
    return array
