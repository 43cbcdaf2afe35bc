"""Speech features kept on disk, so that a recording is heard once per extractor.

A file is named after what it depends on: the samples and the extractor's revision. So nothing is ever stale, and
several programs may share a folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.errors import CheckpointError
from cospeech.hub import load_tensors, save_tensors

__all__ = ["FeatureCache", "RevisedFeatures"]


class RevisedFeatures(Protocol):
    """What makes features, such as ``cospeech.audio.SpeechEncoder``; ``revision`` tells one from another."""

    @property
    def revision(self) -> str:
        """Changes whenever the features would."""

    def __call__(self, waveform: Tensor, /) -> Tensor:
        """Features ``(B, T, C)`` of windows ``(B, S)``."""


class FeatureCache:
    """Features of speech windows, computed where they are not yet kept.

    Args:
        folder: Where they are kept; made if missing.
        features: What makes them.

    Example:
        >>> import tempfile
        >>> class Levels:
        ...     revision = "level, 2 frames"
        ...     def __call__(self, waveform):
        ...         print("hearing", len(waveform))
        ...         return waveform.reshape(len(waveform), 2, -1).abs().mean(-1, keepdim=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache, windows = FeatureCache(folder, Levels()), torch.ones(3, 8)
        ...     same = torch.equal(cache(windows), cache(windows))
        hearing 3
        >>> same
        True
    """

    def __init__(self, folder: str | os.PathLike[str], features: RevisedFeatures):
        self.folder, self.features = Path(folder), features

    def __call__(self, waveform: Tensor) -> Tensor:
        """Features ``(B, T, C)`` of the windows ``(B, S)`` of one recording, all of which are kept together.

        A file that cannot be read, for example after a crash of the machine, is computed and written anew.
        """
        check_shape("waveform", waveform, "B S")
        path = self.folder / f"{self.key(waveform)}.safetensors"
        if path.exists():
            try:
                return load_tensors(path)["features"].to(waveform.device)
            except (CheckpointError, KeyError):
                pass
        features = self.features(waveform)
        save_tensors({"features": features}, path)
        return features

    def key(self, waveform: Tensor) -> str:
        """The name under which the features of these windows are kept."""
        digest = hashlib.sha256(f"{self.features.revision}\n{tuple(waveform.shape)}\n{waveform.dtype}\n".encode())
        digest.update(waveform.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
