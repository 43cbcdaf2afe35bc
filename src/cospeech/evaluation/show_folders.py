"""``diffsheg_show``: folders of SHOW motion as DiffSHEG writes it, ``.npy`` of 232 channels, or SMPL-X ``.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cospeech.errors import CospeechError, MotionFileError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.folders import ClipFiles, Problem, find_clips, weights_hash
from cospeech.evaluation.protocols import Protocol
from cospeech.evaluation.statistics import named_statistics
from cospeech.evaluation.windows import measure_windows
from cospeech.models import GestureAutoencoder
from cospeech.motion import Motion
from cospeech.representations import DiffSHEGShow

__all__ = ["ShowReader", "load_feature_file"]

_GESTURE = 129
_CHANNELS = 232


@dataclass(frozen=True, kw_only=True)
class ShowReader:
    """See ``evaluate_folders`` for the fields."""

    protocol: Protocol
    statistics: Mapping[str, Tensor]
    extractors: Sequence[GestureAutoencoder] = ()

    def find(self, generated: Path, reference: Path) -> tuple[list[ClipFiles], list[Problem]]:
        """Pairs of ``.npy`` or ``.npz``, wherever they lie in the folders."""
        _ = self._features  # complain before any clip is read
        return find_clips(generated, reference, suffixes=(".npy", ".npz"), nested=True)

    @torch.inference_mode()
    def __call__(self, clip: ClipFiles) -> ClipMeasures | Problem:
        """Read, check and measure one clip."""
        size, stride = self.protocol.windows
        try:
            motions = [self._read(path) for path in (clip.generated, clip.reference)]
        except (CospeechError, ValueError, OSError) as error:
            kind = "NaN" if "NaN" in str(error) else "wrong rate" if "must run at" in str(error) else "unreadable"
            return Problem(clip.name, kind, str(error))
        num_frames = min(map(len, motions))
        if num_frames < size:
            return Problem(clip.name, "too short", f"{num_frames} frames in both, not {size}")
        found = ClipMeasures(clip.name, num_frames)
        if len(motions[0]) != len(motions[1]):
            found.notes.append(f"{len(motions[0])} frames against {len(motions[1])}: cut to {num_frames}")
        windows = [x[:num_frames].unfold(0, size, stride).mT.float() for x in motions]
        measure_windows(found, windows[0], windows[1], self.extractors, gesture_dim=_GESTURE, triples=False)
        return found

    def finish(self, clips: list[ClipMeasures], seed: int) -> list[ClipMeasures]:
        """Nothing more."""
        return clips

    def reason(self, name: str) -> str:
        """Why a measure of the protocol is missing."""
        widths = {"fmd": "motion and face", "fgd": "motion", "fed": "faces"}
        return f"needs the extractor for {widths[name]}" if name in widths else "too few windows"

    def notes(self) -> list[str]:
        """None: all is as published."""
        return []

    def extractor_hash(self) -> str | None:
        """Of the gesture autoencoders."""
        return weights_hash(self.extractors) if self.extractors else None

    @cached_property
    def _features(self) -> DiffSHEGShow:
        mean, std = named_statistics(self.statistics, "motion", _CHANNELS)
        return DiffSHEGShow(mean=mean, std=std, rate_hz=self.protocol.rate_hz)

    def _read(self, path: Path) -> Tensor:
        """Normalised features, float64 ``(T, 232)``."""
        if path.suffix.lower() == ".npy":
            return self._features.normalize(load_feature_file(path, _CHANNELS).double())
        return self._features.encode(Motion.load(path).to(dtype=torch.float64))


def load_feature_file(path: Path, num_channels: int) -> Tensor:
    """Features of a clip, ``(T, C)`` float32, from ``.npy`` of that shape or with an axis of 1 before it.

    Raises:
        MotionFileError: If the file holds something else, or NaN.
        OSError: If it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise MotionFileError(f"{path}: expected a whole .npy array; {error}.") from error
    if not isinstance(array, np.ndarray):
        raise MotionFileError(f"{path}: expected one array; got an archive.")
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or array.shape[1] != num_channels or array.dtype.kind != "f" or not len(array):
        raise MotionFileError(f"{path}: expected numbers (T, {num_channels}); got {array.shape} of {array.dtype}.")
    if not np.isfinite(array).all():
        raise MotionFileError(f"{path}: expected finite numbers; it holds NaN or infinity.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
