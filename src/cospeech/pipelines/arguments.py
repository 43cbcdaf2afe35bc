"""What a pipeline is asked for: clips, and one speaker, one seed, one of anything else for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from cospeech.audio import AudioSource, iter_audio, measure_speech
from cospeech.audio.decoding import hold_audio

__all__ = ["Request", "one_each", "read_requests"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A clip whose audio has been found usable.

    Attributes:
        speaker: Whose body language, counted from 1.
        seed: Of the clip's noise.
        num_samples: How long it is at the rate that the pipeline hears.
    """

    source: AudioSource
    source_rate_hz: float | None
    rate_hz: float
    speaker: int
    seed: int
    num_samples: int

    def blocks(self) -> Iterator[Tensor]:
        """The samples, piece by piece."""
        return iter_audio(self.source, self.rate_hz, source_rate_hz=self.source_rate_hz)


def read_requests(
    audios: Sequence[AudioSource],
    rate_hz: float,
    *,
    speakers: Sequence[int] | None,
    seeds: Sequence[int] | None,
    source_rate_hz: float | None,
) -> list[Request]:
    """Go through all clips once, so that one that cannot be used is refused before any work is done.

    Args:
        audios: The clips; an open file is read and chunks are joined, since they will be gone through again.
        rate_hz: Samples per second that the pipeline hears.
        speakers: See ``Pipeline.batch``.
        seeds: See ``Pipeline.batch``.
        source_rate_hz: See ``Pipeline.batch``.

    Raises:
        AudioError: If one of the clips cannot be used.
        ValueError: If the lists differ in length.
    """
    speakers = one_each("speakers", speakers, len(audios), default=1)
    seeds = one_each("seeds", seeds, len(audios), default=0)
    sources = [hold_audio(audio) for audio in audios]
    return [
        Request(
            source=source,
            source_rate_hz=source_rate_hz,
            rate_hz=rate_hz,
            speaker=speaker,
            seed=seed,
            num_samples=measure_speech(source, rate_hz, source_rate_hz=source_rate_hz),
        )
        for source, speaker, seed in zip(sources, speakers, seeds, strict=True)
    ]


def one_each(name: str, given: Sequence[T] | None, count: int, *, default: T) -> Sequence[T]:
    """The given things, or as many defaults.

    Raises:
        ValueError: If there are more or fewer than clips.
    """
    if given is None:
        return [default] * count
    if len(given) != count:
        raise ValueError(f"`{name}` must be one for each of the {count} clips; got {len(given)}.")
    return given
