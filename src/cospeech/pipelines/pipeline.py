"""The interfaces of pipelines: something in, Motion out; and of those that speech goes into."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from typing_extensions import Self

from cospeech.audio import AudioSource
from cospeech.hub import ModelCard, push_to_hub
from cospeech.motion import Motion
from cospeech.nn.optimization import Precision
from cospeech.pipelines.arguments import Request, one_each, read_requests
from cospeech.pipelines.index import write_terms

__all__ = ["MotionPipeline", "Pipeline", "ProgressCallback"]

ProgressCallback = Callable[[int, int], None]
"""Called with the frames done and the frames to do, over all clips."""


class MotionPipeline(ABC):
    """Anything to motion; what goes in, and with which options, is the subclass's to say.

    A pipeline is never changed by use: ``to`` and ``optimize`` return another one.

    Attributes:
        rate_hz: Frames per second of the motion.
    """

    rate_hz: float

    @abstractmethod
    def __call__(self, source: Any, *args: Any, **options: Any) -> Motion:
        """The motion for one source."""

    @abstractmethod
    def batch(self, sources: Any, *args: Any, **options: Any) -> list[Motion]:
        """The motions for several sources, generated side by side."""

    @abstractmethod
    def stream(self, source: Any, *args: Any, **options: Any) -> Iterator[Motion]:
        """The motion in pieces, each as soon as it is known."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """This pipeline on another device."""

    @abstractmethod
    def optimize(self, *, precision: Precision = "float32") -> Self:
        """This pipeline with the fastest linear layers found on this machine; see ``cospeech.nn.optimize``."""

    @abstractmethod
    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write everything to a folder that ``cospeech.load_pipeline`` reads."""

    def push_to_hub(
        self,
        repository: str,
        *,
        card: ModelCard,
        private: bool = True,
        dtype: torch.dtype | None = None,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Save the pipeline with its card and licences, and upload it; see ``cospeech.hub.push_to_hub``."""
        with tempfile.TemporaryDirectory(prefix="cospeech-") as name:
            folder = Path(name)
            self.save_pretrained(folder, dtype=dtype)
            write_terms(folder, card.terms)
            return push_to_hub(folder, repository, card=card, private=private, token=token, revision=revision)


class Pipeline(MotionPipeline):
    """Speech to motion.

    Attributes:
        num_speakers: Speakers are numbered from 1 to this.
    """

    num_speakers: int

    def __call__(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
    ) -> Motion:
        """Motion for a clip of speech, from its first sample to its last.

        Args:
            audio: A path, the bytes of a file, an open file, or samples; see ``cospeech.audio.load_audio``.
            speaker: Whose body language, from 1 to ``num_speakers``.
            seed: The same seed gives the same motion, whatever else is generated beside it.
            source_rate_hz: The sampling rate of samples; files say theirs themselves.
            progress: Whether to show a bar; by default on a terminal.
            callback: Called after each window with the frames done and the frames in all.

        Returns:
            ``ceil(seconds * rate_hz)`` frames.

        Raises:
            AudioError: If the audio cannot be read, lasts less than 0.1 s, or is silent.
            ValueError: If there is no such speaker.
        """
        return self.batch(
            [audio],
            speakers=[speaker],
            seeds=[seed],
            source_rate_hz=source_rate_hz,
            progress=progress,
            callback=callback,
        )[0]

    @abstractmethod
    def batch(
        self,
        audios: Sequence[AudioSource],
        *,
        speakers: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
    ) -> list[Motion]:
        """Motions for several clips of any lengths, generated side by side.

        Args:
            audios: The clips.
            speakers: One for each clip; 1 by default.
            seeds: One for each clip; 0 by default. A clip's motion depends on its own seed alone.
            source_rate_hz: As for a single clip.
            progress: As for a single clip.
            callback: As for a single clip, with the frames of all clips.

        Raises:
            AudioError: If one of the clips cannot be used.
            ValueError: If there is no such speaker, or the lists differ in length.
        """

    @abstractmethod
    def stream(
        self, audio: AudioSource, *, speaker: int = 1, seed: int = 0, source_rate_hz: float | None = None
    ) -> Iterator[Motion]:
        """The motion of a clip in pieces, each as soon as it is known; joined, they are what the call returns.

        Args:
            audio: As for a call. A file is read as the stream goes, so memory does not grow with its length; so are
                pieces of samples, which may come from a microphone: motion comes as soon as its speech has.
            speaker: As for a call.
            seed: As for a call.
            source_rate_hz: As for a call.

        Yields:
            Consecutive pieces, without overlap.
        """

    @abstractmethod
    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """This pipeline with the fastest linear layers found on this machine; see ``cospeech.nn.optimize``."""

    def check_speaker(self, speaker: int) -> None:
        """Refuse a speaker that the pipeline does not have.

        Raises:
            ValueError: Naming the speakers there are.
        """
        if not 1 <= speaker <= self.num_speakers:
            raise ValueError(f"Unknown speaker {speaker}; choose from 1 to {self.num_speakers}.")

    def _requests(
        self,
        audios: Sequence[AudioSource],
        rate_hz: float,
        *,
        speakers: Sequence[int] | None,
        seeds: Sequence[int] | None,
        source_rate_hz: float | None,
    ) -> list[Request]:
        """What ``batch`` is asked for, all of it found usable; heard at ``rate_hz``."""
        for speaker in one_each("speakers", speakers, len(audios), default=1):
            self.check_speaker(speaker)
        return read_requests(audios, rate_hz, speakers=speakers, seeds=seeds, source_rate_hz=source_rate_hz)
