"""Words and their times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cospeech.audio import SpokenWord, embed_words, read_text_grid
from cospeech.errors import AudioError

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2.5
            text = "HH"
    item [2]:
        class = "TextTier"
        name = "beats"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 1.5
            mark = "x"
    item [3]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1.5
            text = "say ""item [3] = 4"" "
        intervals [3]:
            xmin = 1.5
            xmax = 2.5
            text = "grüße"
"""
WORDS = [SpokenWord('say "item [3] = 4"', 0.25, 1.5), SpokenWord("grüße", 1.5, 2.5)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_long_text_grid(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(LONG.encode(encoding))
    assert read_text_grid(path) == WORDS
    assert read_text_grid(path, tier="phones") == [SpokenWord("HH", 0.0, 2.5)]


def test_a_short_text_grid(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"said"\n0\n2\n2\n'
        '0\n1e-1\n""\n0.1\n2\n"yes"\n'
    )
    assert read_text_grid(path) == [SpokenWord("yes", 0.1, 2.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no TextGrid"),
        (LONG[:300].encode(), "is no TextGrid"),
        (LONG.replace("xmax = 1.5", 'xmax = "soon"').encode(), "is no TextGrid"),
        (b"\x93\x00\xff", "cannot be read"),
        (LONG.replace("size = 3", "size = 0", 1).encode(), "has no tier of intervals at all"),
    ],
)
def test_what_is_no_text_grid_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"a\.TextGrid {message}"):
        read_text_grid(path)


def test_a_missing_tier_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(LONG)
    with pytest.raises(AudioError, match="has no tier of intervals 'beats'; it has phones, words"):
        read_text_grid(path, tier="beats")


def test_each_frame_has_the_word_that_is_said_then() -> None:
    table = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}
    words = [SpokenWord("b", 0.3, 0.5), SpokenWord("a", 0.1, 0.4), SpokenWord("c", 0.6, 0.7), SpokenWord("a", 0.8, 9.0)]
    read = embed_words(words, table.get, 1, 10, rate_hz=10)
    assert read.flatten().tolist() == [0, 1, 1, 2, 2, 0, 0, 0, 1, 1]
    # At 30 Hz frame 7 is at 0.2333 s, which no decimal number is.
    read = embed_words([SpokenWord("a", 0.233333, 0.3)], table.get, 1, 10, rate_hz=30)
    assert read.flatten().nonzero().flatten().tolist() == [7, 8]


def test_errors() -> None:
    with pytest.raises(ValueError, match="must end after they begin"):
        embed_words([SpokenWord("a", 2.0, 1.0)], {}.get, 1, 10, rate_hz=30)
    with pytest.raises(ValueError, match=r"must give vectors of shape \(3,\); got \(2,\)"):
        embed_words([SpokenWord("a", 0.0, 1.0)], {"a": torch.zeros(2)}.get, 3, 10, rate_hz=30)
