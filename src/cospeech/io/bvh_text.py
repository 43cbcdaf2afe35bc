"""The grammar of a BVH file: its hierarchy, its header and its rows of numbers, every complaint with its line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TextIO

import numpy as np

__all__ = ["BvhError", "BvhJoint", "BvhReader"]

CHANNELS = {f"{axis}{kind}".lower(): f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")}
BLOCK_ROWS = 512


class BvhError(Exception):
    """Something in the file is not BVH; the message begins with the line."""


class BvhJoint(NamedTuple):
    """One joint as the file declares it: ``offset`` from its parent, ``channels`` spelled as in the standard."""

    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...]


class BvhReader:
    """Reads the parts of one file in their order: hierarchy, motion header, rows."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.line = 0
        self.tokens: list[str] = []  # what is left of the current line, reversed

    def read_hierarchy(self) -> list[BvhJoint]:
        """Every joint, parents before children; stops behind the word ``MOTION``."""
        self._expect("HIERARCHY")
        self._expect("ROOT")
        joints = [self._read_joint(-1)]
        path = [0]
        while path:
            word = self._next().upper()
            if word == "JOINT":
                path.append(len(joints))
                joints.append(self._read_joint(path[-2]))
            elif word == "END":
                self._skip_end_site()
            elif word == "}":
                path.pop()
            else:
                raise self._fail(f"expected JOINT, End Site or }}; got {word[:40]!r}")
        names = [joint.name for joint in joints]
        if len(set(names)) < len(names):
            raise self._fail("expected joint names that differ; some name came twice")
        self._expect("MOTION")
        return joints

    def read_motion_header(self) -> tuple[int, float]:
        """Number of frames and frames per second."""
        text = self._labelled("Frames:")
        if not (text.isascii() and text.isdigit() and 0 < len(text) < 19 and int(text) > 0):
            raise self._fail(f"expected a positive number of frames; got {text[:40]!r}")
        num_frames = int(text)
        text = self._labelled("Frame", "Time:")
        seconds = self._number(text)
        if not (seconds > 0 and math.isfinite(1 / seconds)):
            raise self._fail(f"expected a positive frame time; got {text[:40]!r}")
        return num_frames, _rate_hz(seconds, text)

    def read_rows(self, num_frames: int, num_columns: int) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
        """Blocks of rows ``(t, num_columns)``, one row for each frame.

        What the header promises is believed only as far as the file goes: nothing is allocated ahead of the text.
        """
        if self.tokens:
            raise self._fail("expected the first frame on a line of its own")
        read = 0
        lines = ((number, text) for number, text in enumerate(self.stream, start=self.line + 1) if not text.isspace())
        while block := list(islice(lines, BLOCK_ROWS)):
            self.line = block[-1][0]
            read += len(block)
            if read > num_frames:
                self.line = block[num_frames - read][0]
                raise self._fail(f"expected the file to end after the declared {num_frames} frames; more came")
            yield self._parse(block, num_columns)
        if read < num_frames:
            raise self._fail(f"expected {num_frames} frames, as declared; the file ends after {read}")

    def _parse(self, block: list[tuple[int, str]], num_columns: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        try:
            rows = np.loadtxt([text for _, text in block], comments=None, ndmin=2)
            if rows.shape == (len(block), num_columns) and np.isfinite(rows).all():
                return rows
        except ValueError:
            pass
        for self.line, text in block:  # once more, slowly, to say which line it was
            words = text.split()
            if len(words) != num_columns:
                raise self._fail(f"expected {num_columns} numbers, one per channel; got {len(words)}")
            for word in words:
                self._number(word)
        raise self._fail("expected plain decimal numbers")

    def _read_joint(self, parent: int) -> BvhJoint:
        name = " ".join(self._until("{"))
        if not name:
            raise self._fail("expected the name of a joint; got {")
        offset: tuple[float, float, float] | None = None
        channels: tuple[str, ...] | None = None
        while True:
            word = self._peek().upper()
            if word == "OFFSET" and offset is None:
                self._next()
                offset = self._read_vector()
            elif word == "CHANNELS" and channels is None:
                self._next()
                channels = self._read_channels()
            elif offset is None:
                raise self._fail(f"expected the OFFSET of joint {name[:40]!r}; got {word[:40]!r}")
            else:
                return BvhJoint(name, parent, offset, channels or ())

    def _read_vector(self) -> tuple[float, float, float]:
        return self._number(self._next()), self._number(self._next()), self._number(self._next())

    def _read_channels(self) -> tuple[str, ...]:
        count = self._next()
        if count not in tuple("0123456"):
            raise self._fail(f"expected 0 to 6 channels; got {count[:40]!r}")
        words = [self._next() for _ in range(int(count))]
        unknown = [word for word in words if word.lower() not in CHANNELS]
        if unknown:
            raise self._fail(f"expected channels such as Xposition or Zrotation; got {unknown[0][:40]!r}")
        channels = tuple(CHANNELS[word.lower()] for word in words)
        if len(set(channels)) < len(channels):
            raise self._fail(f"expected each channel once; got {' '.join(channels)}")
        return channels

    def _skip_end_site(self) -> None:
        self._until("{")
        self._expect("OFFSET")
        self._read_vector()
        self._expect("}")

    def _labelled(self, *label: str) -> str:
        """The one word that follows a label such as ``Frame Time:``."""
        for word in label:
            self._expect(word)
        return self._next()

    def _until(self, end: str) -> list[str]:
        """The rest of this line, up to ``end``, which may also be the first word of a later line."""
        words, line = [], self.line
        while (word := self._next()) != end:
            if self.line != line or word == "}":
                raise self._fail(f"expected {end}; got {word[:40]!r}")
            words.append(word)
        return words

    def _expect(self, word: str) -> None:
        got = self._next()
        if got.upper() != word.upper():
            raise self._fail(f"expected {word}; got {got[:40]!r}")

    def _number(self, word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._fail(f"expected a finite number; got {word[:40]!r}")
        return value

    def _peek(self) -> str:
        word = self._next()
        self.tokens.append(word)
        return word

    def _next(self) -> str:
        while not self.tokens:
            text = self.stream.readline()
            if not text:
                raise self._fail("expected more; the file ends here")
            self.line += 1
            self.tokens = text.replace("{", " { ").replace("}", " } ").split()[::-1]
        return self.tokens.pop()

    def _fail(self, message: str) -> BvhError:
        return BvhError(f"line {max(1, self.line)}: {message}.")


def _rate_hz(seconds: float, text: str) -> float:
    """Frames per second from a frame time that may be rounded or cut: 0.008333 means 120, not 120.0048."""
    mantissa = text.lower().partition("e")[0]
    last_digit = 10.0 ** -len(mantissa.partition(".")[2]) if "e" not in text.lower() else 0.0
    whole = round(1 / seconds)
    if whole > 0 and abs(1 / whole - seconds) <= last_digit:
        return float(whole)
    return float(f"{1 / seconds:.15g}")  # 1 / (1 / 29.97) is not quite 29.97
