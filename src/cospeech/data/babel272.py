"""BABEL in 272 channels: single actions for the autoencoder, and pairs of actions, one after the other, for streams.

``BABEL-272`` is a folder of motions. ``BABEL-272-stream`` holds subsequences of two actions joined, and for each a text
file with lines ``A_text*B_text#A_length``: what comes first is history, the caption is that of the second. Data is for
academic use only and is not part of cospeech.

Reference:
    Xiao et al., "MotionStreamer", ICCV 2025; folders and formats are those of its program.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cospeech.data.humanml272 import CaptionedLatents, StreamCaption, load_features, load_latents, parse_stream_captions

__all__ = ["Babel272", "BabelStream272", "stream_latents"]


@dataclass(frozen=True)
class Babel272:
    """Single actions without captions.

    Attributes:
        folder: With ``motion_data/*.npy``, ``(T, 272)`` at 30 frames per second.
    """

    folder: str | os.PathLike[str]

    def names(self) -> list[str]:
        """All clips, sorted."""
        return _stems(Path(self.folder) / "motion_data")

    def path(self, name: str) -> Path:
        """Where a clip lies."""
        return Path(self.folder) / "motion_data" / f"{name}.npy"

    def motion(self, name: str) -> Tensor:
        """The features of a clip, ``(T, 272)``, not normalised, float32; errors as for ``HumanML272``."""
        return load_features(self.path(name))

    def clips(self) -> Iterator[tuple[str, Tensor]]:
        """Names, with the ``b_`` that keeps them apart from those of HumanML3D, and features."""
        for name in self.names():
            yield f"b_{name}", self.motion(name)


@dataclass(frozen=True)
class BabelStream272:
    """Pairs of actions.

    Attributes:
        folder: With ``train_stream``, ``train_stream_text``, ``val_stream`` and ``val_stream_text``.
        split: "train" or "val".
    """

    folder: str | os.PathLike[str]
    split: str = "train"

    def names(self) -> list[str]:
        """All clips that have both a motion and a text, by number; ``seq1`` and ``seq_1`` are both met."""
        texts = {path.stem for path in (Path(self.folder) / f"{self.split}_stream_text").glob("*.txt")}
        return [name for name in _stems(self.path("x").parent) if name in texts]

    def path(self, name: str) -> Path:
        """Where a clip lies."""
        return Path(self.folder) / f"{self.split}_stream" / f"{name}.npy"

    def motion(self, name: str) -> Tensor:
        """The features of both actions, ``(T, 272)``, not normalised, float32; errors as for ``HumanML272``."""
        return load_features(self.path(name))

    def captions(self, name: str) -> list[StreamCaption]:
        """What comes second, in words, and how long the first is."""
        text = Path(self.folder) / f"{self.split}_stream_text" / f"{name}.txt"
        return parse_stream_captions(text.read_text(encoding="utf-8"))

    def clips(self) -> Iterator[tuple[str, Tensor]]:
        """Names and features of all clips, for ``cospeech.training.cache_latents``."""
        for name in self.names():
            yield name, self.motion(name)


def stream_latents(
    data: BabelStream272, folder: str | os.PathLike[str], *, max_latents: int = 78
) -> list[CaptionedLatents]:
    """The items of the streaming model's training, from the latents that ``cache_latents`` kept.

    Clips without a file, and clips of more latents than the model has positions, are left out, as published.

    Args:
        data: The captions.
        folder: With one ``NAME.npy`` for each clip, end latent last.
        max_latents: With the end.
    """
    items = []
    for name in data.names():
        latents = load_latents(Path(folder) / f"{name}.npy")
        if latents is None or len(latents) > max_latents:
            continue
        items += [
            CaptionedLatents(text, latents, min(history_frames // 4, len(latents) - 1))
            for text, history_frames in data.captions(name)
        ]
    return items


def _stems(folder: Path) -> list[str]:
    """The arrays in a folder, numbers in their order."""
    stems = [path.stem for path in folder.glob("*.npy")]
    return sorted(stems, key=lambda stem: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", stem)])
