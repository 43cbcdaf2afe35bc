"""What is said when: words with their times, from TextGrid files or anywhere else, and at each frame."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech.errors import AudioError

__all__ = ["SpokenWord", "WordEmbedding", "embed_words", "read_text_grid"]

WordEmbedding = Callable[[str], "Tensor | None"]
"""From a word to its vector ``(C,)``, None where it is not known: the ``get`` of a dictionary, for example."""

_MOST_BYTES = 64 << 20  # an hour of speech has some 10,000 words, which is 2 MB
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|\[\d*\]|([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)|<(?:exists|absent)>')


class SpokenWord(NamedTuple):
    """A word, and the seconds from which and until which it is spoken."""

    text: str
    start_seconds: float
    end_seconds: float


def embed_words(
    words: Sequence[SpokenWord], embedding: WordEmbedding, dim: int, num_frames: int, *, rate_hz: float
) -> Tensor:
    """The vector of the word that is spoken at each frame; zeros in pauses and for words that are not known.

    Args:
        words: In any order; where two overlap, the one that begins later is taken.
        embedding: From a word to its vector.
        dim: Width of a vector, ``C``.
        num_frames: ``T``.
        rate_hz: Frames per second; frame ``k`` is at ``k / rate_hz`` seconds.

    Returns:
        float32, ``(T, C)``.

    Raises:
        ValueError: If a word ends before it begins, or its vector has another width.

    Example:
        >>> table = {"yes": torch.tensor([1.0, 2.0])}
        >>> embed_words([SpokenWord("yes", 0.1, 0.3)], table.get, 2, 5, rate_hz=10)[:, 1]
        tensor([0., 2., 2., 0., 0.])
    """
    found = torch.zeros(num_frames, dim)
    times = torch.arange(num_frames, dtype=torch.float64) / rate_hz
    for word in sorted(words, key=lambda word: word.start_seconds):
        if not word.start_seconds <= word.end_seconds:
            raise ValueError(f"Words must end after they begin; got {word}.")
        vector = embedding(word.text)
        if vector is None:
            continue
        if vector.shape != (dim,):
            raise ValueError(f"`embedding` must give vectors of shape ({dim},); got {tuple(vector.shape)}.")
        # Times are decimal numbers, so that a word that begins with a frame may seem to begin just after it.
        first, last = torch.searchsorted(times, torch.tensor([word.start_seconds, word.end_seconds]).double() - 1e-6)
        found[first:last] = vector.to(found)
    return found


def read_text_grid(path: str | os.PathLike[str], *, tier: str | None = None) -> list[SpokenWord]:
    """The words of a Praat TextGrid, long or short form; pauses are left out.

    Args:
        path: The file, UTF-8 or UTF-16.
        tier: Name of the tier of intervals to read; by default the one named "words", or else the first.

    Raises:
        AudioError: If the file cannot be read, is no TextGrid, or has no such tier.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise AudioError(f"{path} is larger than {_MOST_BYTES >> 20} MB, which no TextGrid of speech is.")
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise AudioError(f"{path} cannot be read: {error}") from error
    try:
        tiers = dict(_tiers(_tokens(text)))
    except (StopIteration, TypeError, ValueError, RuntimeError) as error:
        raise AudioError(
            f"{path} is no TextGrid: it ends early, or holds something else where a number is due."
        ) from error
    name = tier or ("words" if "words" in tiers else next(iter(tiers), None))
    if name not in tiers:
        known = ", ".join(tiers) or "none"
        raise AudioError(f"{path} has no tier of intervals {'at all' if name is None else repr(name)}; it has {known}.")
    return tiers[name]


def _tokens(text: str) -> Iterator[str | float]:
    """Strings and numbers in their order, which both forms share; indices in brackets and labels are passed over."""
    for match in _TOKEN.finditer(text):
        string, number = match.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif number is not None:
            yield float(number)


def _tiers(tokens: Iterator[str | float]) -> Iterator[tuple[str, list[SpokenWord]]]:
    if (next(tokens), next(tokens)) != ("ooTextFile", "TextGrid"):
        raise ValueError("no TextGrid")
    _numbers(tokens, 2)
    for _ in range(int(_numbers(tokens, 1)[0])):
        kind, name = _string(tokens), _string(tokens)
        count = int(_numbers(tokens, 3)[2])
        if kind == "IntervalTier":
            yield name, [word for word in (_interval(tokens) for _ in range(count)) if word.text]
        else:
            for _ in range(count):
                _numbers(tokens, 1)
                _string(tokens)


def _interval(tokens: Iterator[str | float]) -> SpokenWord:
    start, end = _numbers(tokens, 2)
    return SpokenWord(_string(tokens).strip(), start, end)


def _numbers(tokens: Iterator[str | float], count: int) -> list[float]:
    found = [next(tokens) for _ in range(count)]
    if any(isinstance(token, str) for token in found):
        raise TypeError("a string where a number is due")
    return [float(token) for token in found]


def _string(tokens: Iterator[str | float]) -> str:
    token = next(tokens)
    if not isinstance(token, str):
        raise TypeError("a number where a string is due")
    return token
