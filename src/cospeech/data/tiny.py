"""The corpus that ``cospeech-tiny`` learned from: speech clips, each animated for all four procedural speakers.

One safetensors file for each clip, memory-mapped when read. Half of the speech is spoken by the program espeak-ng where
that is installed. A file depends on seed and number alone: making it again gives the same, and what is there is kept.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from cospeech.audio import ProsodyFeatures
from cospeech.data.jobs import run_jobs
from cospeech.data.synthetic import SPEAKERS, animate_speech, synthesize_speech
from cospeech.data.synthetic.espeak import TRAIN_VOICES, espeak_installed, talk
from cospeech.data.synthetic.speech import SAMPLE_RATE_HZ, record_speech
from cospeech.data.synthetic.stress import Stresses, find_stresses
from cospeech.hub import save_tensors
from cospeech.rotations import matrix_to_rot6d
from cospeech.skeleton import SMPLX, local_to_global

__all__ = ["TinyBatch", "TinyCorpus", "global_motion", "prepare_tiny_corpus"]

WINDOW_FRAMES, WINDOW_SAMPLES, HOP_FRAMES = 60, 32_000, 10
CLIP_SECONDS = 12.0
_NUM_BANDS = 24


class TinyBatch(NamedTuple):
    """Windows of audio features and of one speaker's motion over them.

    Attributes:
        features: ``ProsodyFeatures`` of each window, ``(B, 60, 30)``.
        expressions: ``(B, 60, 100)``, the same for all speakers.
        motion: Rot6D of global rotations, and translation in metres, ``(B, 60, 333)``.
        speaker: From 1, ``(B,)``.
    """

    features: Tensor
    expressions: Tensor
    motion: Tensor
    speaker: Tensor


def prepare_tiny_corpus(
    folder: str | os.PathLike[str], num_clips: int, *, seed: int = 0, workers: int = 0, progress: bool | None = None
) -> int:
    """Make the clips that are not there yet; how many those were.

    Args:
        folder: Of the corpus; made if missing.
        num_clips: Of twelve seconds; each is animated for all speakers.
        seed: Of all clips.
        workers: Processes; 0 works here.
        progress: Whether to draw a bar; None draws one on a terminal only.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"clip-{seed}-{n:05d}.safetensors", seed, n) for n in range(num_clips)]
    missing = [job for job in jobs if not job[0].exists()]
    return len(run_jobs(_make_clip, missing, workers=workers, progress=progress, unit="clips"))


class TinyCorpus:
    """The windows of a prepared corpus, ten frames apart.

    Args:
        folder: See ``prepare_tiny_corpus``.
        num_clips: Of the seed, from the first.
        seed: Of the clips.
    """

    def __init__(self, folder: str | os.PathLike[str], num_clips: int, *, seed: int = 0):
        self._paths = [Path(folder) / f"clip-{seed}-{n:05d}.safetensors" for n in range(num_clips)]
        self._files: dict[int, Any] = {}
        self._ends = list[int]()
        for path in self._paths:
            with safe_open(path, framework="pt") as file:
                count = file.get_slice("starts").get_shape()[0]
            self._ends.append(count + (self._ends[-1] if self._ends else 0))

    def __len__(self) -> int:
        return self._ends[-1]

    def batch(self, windows: Sequence[int], speakers: Sequence[int]) -> TinyBatch:
        """Windows by number, each with one of the speakers, from 1."""
        rows = [self._read(window, speaker) for window, speaker in zip(windows, speakers, strict=True)]
        features, expressions, motion = (torch.stack(tensors) for tensors in zip(*rows, strict=True))
        return TinyBatch(features, expressions, motion, torch.tensor(speakers))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel over all frames and speakers, ``(333,)``, from sums over the clips."""
        count, total, squares = 0, torch.zeros(333, dtype=torch.float64), torch.zeros(333, dtype=torch.float64)
        for path in self._paths:
            with safe_open(path, framework="pt") as file:
                frames = file.get_tensor("motion").flatten(0, 1).double()
            count, total, squares = count + len(frames), total + frames.sum(0), squares + frames.square().sum(0)
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float()

    def _read(self, window: int, speaker: int) -> tuple[Tensor, Tensor, Tensor]:
        number = bisect.bisect_right(self._ends, window)
        row = window - (self._ends[number - 1] if number else 0)
        if number not in self._files:
            self._files[number] = safe_open(self._paths[number], framework="pt")
        file = self._files[number]
        start = int(file.get_slice("starts")[row : row + 1])
        frames = slice(start, start + WINDOW_FRAMES)
        motion = file.get_slice("motion")[speaker - 1 : speaker, frames][0]
        return file.get_slice("features")[row : row + 1][0], file.get_slice("expressions")[frames], motion

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}


def global_motion(local_rotations: Tensor, translation: Tensor) -> Tensor:
    """Motion vectors ``(T, 333)``: rot6d of global rotations, then translation."""
    rotations = matrix_to_rot6d(local_to_global(local_rotations, SMPLX))
    return torch.cat([rotations.flatten(-2), translation], dim=-1)


@torch.no_grad()
def _make_clip(job: tuple[Path, int, int]) -> None:
    path, seed, number = job
    generator = np.random.default_rng([seed, number])
    shares = [0.42, 0.53, 0.05] if espeak_installed() else [0.95, 0.0, 0.05]
    waveform, stresses = _draw_speech(str(generator.choice(["synthetic", "espeak", "silence"], p=shares)), generator)
    clips = [animate_speech(waveform, speaker, generator, stresses) for speaker in range(1, len(SPEAKERS) + 1)]
    num_frames = len(clips[0].expressions)
    # The first window counts three times: every recording begins with one, and from rest.
    starts = torch.cat([torch.zeros(2), torch.arange(0, num_frames - WINDOW_FRAMES + 1, HOP_FRAMES)]).long()
    samples = [round(frame * SAMPLE_RATE_HZ / 30) for frame in starts.tolist()]
    windows = torch.stack([torch.from_numpy(waveform)[s : s + WINDOW_SAMPLES] for s in samples])
    tensors = {
        "features": ProsodyFeatures()(windows),
        "starts": starts,
        "expressions": clips[0].expressions,
        "motion": torch.stack([global_motion(clip.local_rotations, clip.translation) for clip in clips]),
    }
    save_tensors(tensors, path)


def _draw_speech(kind: str, generator: np.random.Generator) -> tuple[NDArray[np.float32], Stresses]:
    """Twelve seconds of speech as recorded, and its stresses."""
    if kind == "synthetic":
        speech = synthesize_speech(CLIP_SECONDS, generator)
        clean, stresses = speech.waveform.astype(np.float64), Stresses(speech.stress_seconds, speech.stress_strengths)
    elif kind == "espeak":
        clean = talk(CLIP_SECONDS, TRAIN_VOICES, generator)
        stresses = find_stresses(clean.astype(np.float32))
    else:
        clean, stresses = np.zeros(round(CLIP_SECONDS * SAMPLE_RATE_HZ)), Stresses(np.zeros(0), np.zeros(0))
    if generator.uniform() < 0.3 and kind != "silence":  # the recording begins in the middle of a word
        cut = generator.uniform(0.3, 2.0)
        clean = np.append(clean[int(cut * SAMPLE_RATE_HZ) :], np.zeros(int(cut * SAMPLE_RATE_HZ)))
        late = stresses.seconds > cut
        stresses = Stresses(stresses.seconds[late] - cut, stresses.strengths[late])
    stop = CLIP_SECONDS
    if generator.uniform() < 0.35:  # the recording ends, and what follows is padding
        stop = generator.uniform(CLIP_SECONDS - 3.0, CLIP_SECONDS - 0.5)
        early = stresses.seconds < stop - 0.1
        stresses = Stresses(stresses.seconds[early], stresses.strengths[early])
    waveform = record_speech(clean, generator)
    if kind == "silence":
        waveform *= generator.choice([0.0, 0.02, 0.2])
    waveform[int(stop * SAMPLE_RATE_HZ) :] = 0
    return waveform, stresses
