"""Folders of BEAT (2022) as recorded and as CaMN and DiffSHEG write it: BVH, and JSON for faces.

``beat2022`` is the test of CaMN on whole clips of 47 joints' Euler angles; ``diffsheg`` the validation of DiffSHEG on
normalised windows of axis-angles and facial weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.errors import CospeechError, MotionFileError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.folders import ClipFiles, Problem, clip_name, find_clips, weights_hash
from cospeech.evaluation.protocols import Protocol
from cospeech.evaluation.statistics import named_statistics
from cospeech.evaluation.windows import measure_windows
from cospeech.io import load_arkit_json, load_beat_bvh
from cospeech.metrics import beat2022_alignment, beat2022_onsets, l1_deviation, semantic_recall
from cospeech.models import GestureAutoencoder
from cospeech.rotations import euler_to_matrix, matrix_to_axis_angle

__all__ = ["Beat2022Reader", "DiffSHEGReader", "beat_semantic_scores"]

_GESTURE, _FACE = 141, 51
_SRGR_DEGREES = 4.0
_ARMS = [*range(30, 39), *range(112, 121)]
_STILL_DEGREES = 0.02
_AUDIO_HZ = 16_000


class BeatPair(NamedTuple):
    """Generated and recorded angles of the same frames, ``(T, 141)`` float64 degrees, and where they begin."""

    generated: Tensor
    reference: Tensor
    first_frame: int
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class Beat2022Reader:
    """See ``evaluate_folders`` for the fields."""

    protocol: Protocol
    audio: Path | None = None
    semantic: Path | None = None
    extractor: GestureAutoencoder | None = None
    statistics: Mapping[str, Tensor] | None = None

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of ``.bvh``, wherever they lie in the folders."""
        if self.statistics is not None:
            named_statistics(self.statistics, "euler", _GESTURE)  # complain before any clip is read
        return find_clips(generated, reference, self.audio, semantic=self.semantic, suffixes=(".bvh",), nested=True)

    @torch.inference_mode()
    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Read, check and measure one clip."""
        pair = read_beat_pair(clip, self.protocol)
        if isinstance(pair, Problem):
            return pair
        found = ClipMeasures(clip.name, len(pair.generated), notes=pair.notes)
        both = (pair.generated, pair.reference)
        windows = [self._windows(x) for x in both]
        if self._network is not None and self.statistics is not None:
            if len(windows[0]) > 1:
                mean, std = named_statistics(self.statistics, "euler", _GESTURE)
                first, second = (self._network.encode(((x - mean) / std).float()) for x in windows)
                found.features["fid"] = (first, second)
            else:
                found.notes.append("a single window has no batch statistics: left out of FID")
        for values, x in zip((found.values, found.reference_values), windows, strict=True):
            # Overlapping windows laid end to end, as published.
            rows = _triples(x.flatten(0, 1)).float()
            values["l1div"] = (float(l1_deviation(rows)), float(len(rows)))
        try:
            if clip.semantic is not None:
                scores = beat_semantic_scores(
                    clip.semantic, pair.first_frame + found.num_frames, self.protocol.rate_hz, name=clip.name
                )
                joints = [_triples(x) for x in both]
                recall = semantic_recall(
                    joints[0], joints[1], scores[pair.first_frame :], threshold=_SRGR_DEGREES, order=1
                )
                found.values["srgr"] = (float(recall), float(found.num_frames))
            if clip.audio is not None:
                onsets = beat2022_onsets(load_audio(clip.audio, _AUDIO_HZ))
                for values, x in zip((found.values, found.reference_values), both, strict=True):
                    whole = torch.cat([x[: pair.first_frame], x])  # a frame that was left out must not shift time
                    _align(values, whole, onsets, self.protocol.rate_hz)
        except (CospeechError, ValueError, OSError) as error:
            return Problem(clip.name, "unreadable", str(error))
        if clip.audio is not None and "align" not in found.values:
            found.notes.append("no onset, or no frame, after the first 10 s: left out of align")
        return found

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """Nothing more."""
        return clips

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""
        if name == "fid" and (self.extractor is None or self.statistics is None):
            return "needs the extractor ae_300.bin and the training statistics (euler_mean, euler_std)"
        if name == "srgr" and self.semantic is None:
            return "needs the clips' semantic scores"
        if name == "align" and self.audio is None:
            return "needs the clips' audio"
        return "no clip is long enough"

    def notes(self) -> list[str]:
        """None: all is as published."""
        return []

    def extractor_hash(self) -> str | None:
        """Of the gesture autoencoder."""
        return None if self.extractor is None else weights_hash([self.extractor])

    @cached_property
    def _network(self) -> GestureAutoencoder | None:
        """The published program forgets eval(): statistics of a batch are those of the clip's windows."""
        return None if self.extractor is None else copy.deepcopy(self.extractor).train()

    def _windows(self, degrees: Tensor) -> Tensor:
        size, stride = self.protocol.windows
        return degrees.unfold(0, size, stride).mT


@dataclass(frozen=True, kw_only=True)
class DiffSHEGReader:
    """See ``evaluate_folders`` for the fields."""

    protocol: Protocol
    statistics: Mapping[str, Tensor]
    extractors: Sequence[GestureAutoencoder] = ()

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of ``.bvh``, wherever they lie in the folders; faces are ``.json`` of the same names."""
        _ = self._normal  # complain before any clip is read
        return find_clips(generated, reference, suffixes=(".bvh",), nested=True)

    @torch.inference_mode()
    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Read, check and measure one clip."""
        pair = read_beat_pair(clip, self.protocol)
        if isinstance(pair, Problem):
            return pair
        try:
            faces = [_face_of(path, self.protocol.rate_hz) for path in (clip.generated, clip.reference)]
        except (CospeechError, OSError) as error:
            return Problem(clip.name, "NaN" if "NaN" in str(error) else "unreadable", str(error))
        if (faces[0] is None) != (faces[1] is None):
            return Problem(clip.name, "without face", "a .json beside one of the two motions, none beside the other")
        motions = [_axis_angle(x) for x in (pair.generated, pair.reference)]
        num_frames = len(motions[0])
        weights = [x[pair.first_frame :] for x in faces if x is not None]
        if weights:
            num_frames = min(num_frames, *map(len, weights))
            motions = [torch.cat([x[:num_frames], y[:num_frames]], 1) for x, y in zip(motions, weights, strict=True)]
        mean, std = (x[: motions[0].shape[1]] for x in self._normal)
        seconds = int(num_frames / self.protocol.rate_hz)
        size = self.protocol.windows[0]
        keep = self._moving_windows(pair.reference, int(seconds * self.protocol.rate_hz))
        found = ClipMeasures(clip.name, num_frames, notes=pair.notes)
        if not keep:
            return Problem(clip.name, "too short", f"no whole window of {size} frames in which anything moves")
        windows = [torch.stack([((x - mean) / std)[i : i + size] for i in keep]).float() for x in motions]
        measure_windows(found, windows[0], windows[1], self.extractors, gesture_dim=_GESTURE, triples=True)
        return found

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """Nothing more."""
        return clips

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""
        widths = {"fmd": "motion and face", "fgd": "motion", "fed": "faces"}
        if name in widths and not self.extractors:
            return f"needs the extractor for {widths[name]}"
        return "no extractor or no file has these channels" if name in widths else "too few windows"

    def notes(self) -> list[str]:
        """None: all is as published."""
        return []

    def extractor_hash(self) -> str | None:
        """Of the gesture autoencoders."""
        return weights_hash(self.extractors) if self.extractors else None

    @cached_property
    def _normal(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of gesture and face."""
        gesture = named_statistics(self.statistics, "axis_angle", _GESTURE)
        face = named_statistics(self.statistics, "face", _FACE)
        return torch.cat([gesture[0], face[0]]), torch.cat([gesture[1], face[1]])

    def _moving_windows(self, degrees: Tensor, num_frames: int) -> list[int]:
        """First frames; the cache leaves out windows in which the recorded body hardly differs from the mean pose."""
        size, stride = self.protocol.windows
        starts = range(0, num_frames - size + 1, stride)
        if "euler_mean" not in self.statistics:
            return list(starts)
        moved = (degrees - self.statistics["euler_mean"]).abs().mean(1)
        return [i for i in starts if float(moved[i : i + size].mean()) >= _STILL_DEGREES]


def read_beat_pair(clip: ClipFiles, protocol: Protocol) -> BeatPair | Problem:
    """Both motions of a clip at the protocol's rate, cut to the frames that both have."""
    angles, firsts, notes = [], [], []
    for path in (clip.generated, clip.reference):
        try:
            found = load_beat_bvh(path)
        except (CospeechError, OSError) as error:
            return Problem(clip.name, "NaN" if "NaN" in str(error) else "unreadable", str(error))
        step = found.rate_hz / protocol.rate_hz
        if step < 1 or abs(step - round(step)) > 1e-3:
            return Problem(
                clip.name, "wrong rate", f"{path} has {found.rate_hz:g} Hz, no multiple of {protocol.rate_hz:g}"
            )
        angles.append(found.euler_degrees[:: round(step)])  # every so manieth frame, as the data is prepared
        firsts.append(found.first_frame)
        if found.first_frame:
            notes.append(f"{path.name} lacks frame 0, as its program writes it: compared from frame 1 on")
    first = max(firsts)
    angles = [x[first - own :] for x, own in zip(angles, firsts, strict=True)]
    num_frames = min(map(len, angles))
    if num_frames < protocol.windows[0]:
        return Problem(clip.name, "too short", f"{num_frames} frames in both, not {protocol.windows[0]}")
    if len(angles[0]) != len(angles[1]):
        notes.append(f"{len(angles[0])} frames against {len(angles[1])}: cut to {num_frames}")
    return BeatPair(angles[0][:num_frames], angles[1][:num_frames], first, notes)


def beat_semantic_scores(path: Path, num_frames: int, rate_hz: float, *, name: str) -> Tensor:
    """Score of each frame ``(T)``: that of the first interval it lies in, else 0.

    Recordings that were cut in two (``_b``) begin 30 s or 300 s into their annotation, by their kind.

    Args:
        path: Lines of label, start, end, duration, score, keywords, between tabs.
        num_frames: How many.
        rate_hz: Frames per second.
        name: Of the clip.

    Raises:
        MotionFileError: If a line holds something else.
    """
    fields = name.split("_")
    offset = 0.0
    if fields[-1] == "b" and len(fields) >= 3 and fields[-3].isdigit():
        offset = 30.0 if int(fields[-3]) % 2 == 0 else 300.0
    seconds = torch.arange(num_frames, dtype=torch.float64) / rate_hz + offset
    scores, free = torch.zeros(num_frames, dtype=torch.float64), torch.ones(num_frames, dtype=torch.bool)
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            _, start, end, _, score = line.split("\t")[:5]
            inside = (seconds >= float(start)) & (seconds <= float(end)) & free
            scores[inside] = float(score)
        except ValueError:
            raise MotionFileError(
                f"{path}: line {number}: expected label, start, end, duration, score between tabs; got {line[:60]!r}."
            ) from None
        free &= ~inside
    return scores


def _align(values: dict[str, tuple[float, float]], degrees: Tensor, onsets: Tensor, rate_hz: float) -> None:
    if len(onsets):
        values["align"] = (float(beat2022_alignment(degrees[:, _ARMS], onsets, rate_hz=rate_hz)), 1.0)


def _triples(x: Tensor) -> Tensor:
    """``(T, 3 J)`` as ``(T, J, 3)``."""
    return x.reshape(len(x), -1, 3)


def _axis_angle(degrees: Tensor) -> Tensor:
    """``(T, 141)`` radians of Euler angles, ``R = R_x R_y R_z``."""
    return matrix_to_axis_angle(euler_to_matrix(torch.deg2rad(_triples(degrees)), "XYZ")).flatten(1)


def _face_of(motion: Path, rate_hz: float) -> Tensor | None:
    """Weights ``(T, 51)`` beside a motion file, or where BEAT's or DiffSHEG's folders have them."""
    above = motion.parent.resolve().parents
    folders = [motion.parent, above[0] / "facial52", *(x / "expression" / "face_json" for x in above[:2])]
    for folder in folders:
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if clip_name(path) == clip_name(motion):
                weights, found_hz = load_arkit_json(path)
                step = found_hz / rate_hz
                if step < 0.99 or abs(step - round(step)) > 0.01 * step:
                    raise MotionFileError(f"{path}: expected a multiple of {rate_hz:g} Hz; got {found_hz:g}.")
                return weights[:: round(step)]
    return None
