"""Captioned motion in 272 channels: HumanML3D-272 as it is published, and what it shares with BABEL-272.

The folder holds ``motion_data/NAME.npy`` ``(T, 272)`` at 30 frames per second, ``texts/NAME.txt`` and
``split/SPLIT.txt`` with one name per line. Data is for academic use only and is not part of cospeech.

Reference:
    Xiao et al., "MotionStreamer", ICCV 2025; file formats are those of its program, slips included where noted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.errors import MotionFileError

__all__ = [
    "CaptionedLatents",
    "HumanML272",
    "LatentBatch",
    "StreamCaption",
    "TimedCaption",
    "captioned_latents",
    "collate_latents",
    "humanml_latents",
    "load_features",
    "load_latents",
    "parse_captions",
    "parse_stream_captions",
    "shorten_latents",
]


class TimedCaption(NamedTuple):
    """A caption of part of a clip, in seconds; both 0 for the whole of it."""

    text: str
    start_seconds: float
    end_seconds: float


class StreamCaption(NamedTuple):
    """A caption of what follows the first ``history_frames`` frames of a joined clip."""

    text: str
    history_frames: int


class CaptionedLatents(NamedTuple):
    """One item of training: a text, latents ``(L, C)``, and how many of them belong to earlier texts."""

    text: str
    latents: Tensor
    history: int = 0


class LatentBatch(NamedTuple):
    """What ``two_forward_loss`` takes: latents ``(B, L, C)`` padded with zeros, lengths, histories ``(B)``; texts."""

    texts: list[str]
    latents: Tensor
    lengths: Tensor
    history: Tensor


@dataclass(frozen=True)
class HumanML272:
    """One data set's folder.

    Attributes:
        folder: With ``motion_data``, ``texts`` and ``split``.
    """

    folder: str | os.PathLike[str]

    def names(self, split: str = "train") -> list[str]:
        """The clips of a split, in the file's order."""
        return (Path(self.folder) / "split" / f"{split}.txt").read_text(encoding="utf-8").split()

    def path(self, name: str) -> Path:
        """Where a clip lies."""
        return Path(self.folder) / "motion_data" / f"{name}.npy"

    def motion(self, name: str) -> Tensor:
        """The features of a clip, ``(T, 272)``, not normalised, float32.

        Raises:
            MotionFileError: If the file is missing or damaged.
            ValueError: If it holds something else.
        """
        return load_features(self.path(name))

    def clips(self, split: str = "train") -> Iterator[tuple[str, Tensor]]:
        """Names and features of a split, for ``cospeech.training.cache_latents``."""
        for name in self.names(split):
            yield name, self.motion(name)

    def captions(self, name: str) -> list[TimedCaption]:
        """The captions of a clip."""
        return parse_captions((Path(self.folder) / "texts" / f"{name}.txt").read_text(encoding="utf-8"))


def load_features(path: Path) -> Tensor:
    """The features in a ``.npy`` file, ``(T, 272)``, float32; errors as for ``HumanML272.motion``."""
    motion = _load_array(path)
    check_shape(path.stem, motion, "T 272")
    return motion


def load_latents(path: Path) -> Tensor | None:
    """The latents in a ``.npy`` file, ``(L, C)``, float32; None where there is no such file.

    Raises:
        MotionFileError: If it is damaged.
        ValueError: If it holds something else.
    """
    if not path.is_file():
        return None
    latents = _load_array(path)
    check_shape(path.stem, latents, "L C")
    return latents


def parse_captions(text: str) -> list[TimedCaption]:
    """The captions of a HumanML3D text file, lines of ``caption#tokens#start#end`` in seconds.

    Raises:
        ValueError: If a line has other fields.

    Example:
        >>> parse_captions("a man walks#a/DET man/NOUN#0.0#nan")
        [TimedCaption(text='a man walks', start_seconds=0.0, end_seconds=0.0)]
    """
    captions = []
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = line.strip().split("#")
        if len(fields) != 4:
            raise ValueError(f"A line must be caption#tokens#start#end; got {line!r}.")
        start, end = (0.0 if math.isnan(float(field)) else float(field) for field in fields[2:])
        captions.append(TimedCaption(fields[0], start, end))
    return captions


def parse_stream_captions(text: str) -> list[StreamCaption]:
    """The captions of a BABEL-stream text file, lines of ``A_text*B_text#A_length`` with fields between at will.

    Lines without a second text are left out.

    Raises:
        ValueError: If a line has no ``*`` or no length.

    Example:
        >>> parse_stream_captions("walk*sit down#tok/NOUN#120")
        [StreamCaption(text='sit down', history_frames=120)]
    """
    captions = []
    for line in text.splitlines():
        if not line.strip():
            continue
        _, star, rest = line.strip().partition("*")
        fields = rest.split("#")
        if not star or len(fields) < 2:
            raise ValueError(f"A line must be A_text*B_text#A_length; got {line!r}.")
        if fields[0].strip():
            captions.append(StreamCaption(fields[0], int(float(fields[-1]))))
    return captions


def captioned_latents(latents: Tensor, captions: Sequence[TimedCaption]) -> list[CaptionedLatents]:
    """The items of one clip: a caption of the whole goes with all latents, its end included, others with their part.

    Captions whose part is empty are left out (the published program repeats the part before).

    Args:
        latents: Of the clip, end latent last, ``(L + 1, C)``.
        captions: Of the clip.
    """
    items = []
    for text, start, end in captions:
        if not start and not end:
            items.append(CaptionedLatents(text, latents))
            continue
        part = latents[:-1][int(start * 30 / 4) : int(end * 30 / 4)]
        if len(part):
            items.append(CaptionedLatents(text, part))
    return items


def humanml_latents(
    data: HumanML272, folder: str | os.PathLike[str], *, split: str = "train", max_latents: int = 78
) -> list[CaptionedLatents]:
    """The items of a split for the autoregressive model's training, from the latents that ``cache_latents`` kept.

    Args:
        data: The captions.
        folder: With one ``NAME.npy`` for each clip, end latent last; clips without one are left out.
        split: Whose names.
        max_latents: Items of more are left out.
    """
    items = []
    for name in data.names(split):
        latents = load_latents(Path(folder) / f"{name}.npy")
        if latents is not None:
            items += captioned_latents(latents, data.captions(name))
    return [item for item in items if len(item.latents) <= max_latents]


def shorten_latents(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents ``(L, C)`` without their first or last one with probability 1/3 (half each), as published."""
    drawn = float(torch.rand((), generator=generator))
    if len(latents) < 2 or drawn >= 1 / 3:
        return latents
    return latents[1:] if drawn < 1 / 6 else latents[:-1]


def collate_latents(items: Sequence[CaptionedLatents], *, max_latents: int = 78) -> LatentBatch:
    """Items as a batch, padded with zeros to ``max_latents`` of which the last is never read, and no length counts it.

    Raises:
        ValueError: If an item is longer.
    """
    longest = max(len(item.latents) for item in items)
    if longest > max_latents:
        raise ValueError(f"`items` must hold {max_latents} latents at most; got {longest}.")
    first = items[0].latents
    padded = first.new_zeros(len(items), max_latents, first.shape[1])
    for row, item in zip(padded, items, strict=True):
        row[: len(item.latents)] = item.latents
    return LatentBatch(
        [item.text for item in items],
        padded[:, :-1],
        torch.tensor([min(len(item.latents), max_latents - 1) for item in items]),
        torch.tensor([item.history for item in items]),
    )


def _load_array(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
        motion = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise MotionFileError(f"{path} cannot be read as an array of numbers: {error}") from error
    if not motion.isfinite().all():
        raise MotionFileError(f"{path} must hold finite numbers; it holds NaN or infinity.")
    return motion
