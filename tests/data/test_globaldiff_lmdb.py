"""What a damaged or foreign data base says; whole ones are read in tests/parity."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cospeech.data import GlobalDiffLMDB
from cospeech.errors import MissingExtraError, MotionFileError


def write(path: Path, entries: dict[str, bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb", reason="needs the extra 'data'")
    environment = lmdb.open(str(path), map_size=1 << 20)
    with environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    environment.close()
    return path


SHAPES = {"num": 1, "betas_shape": 2, "poses_shape": 3, "expressions_shape": 2, "trans_shape": 3, "sem_shape": 1}
NUMBERS = {name: str(size).encode() for name, size in SHAPES.items()} | {"seq_size": b"4"}


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(MotionFileError, match="the key 'num' is missing"):
        GlobalDiffLMDB(write(tmp_path / "empty", {"x": b"1"}))
    with pytest.raises(MotionFileError, match="expected a number under 'num'"):
        GlobalDiffLMDB(write(tmp_path / "odd", NUMBERS | {"num": b"many"}))


def test_short_entries_are_refused(tmp_path: Path) -> None:
    with GlobalDiffLMDB(write(tmp_path / "short", NUMBERS | {"0000000000": bytes(40)})) as published:
        assert len(published) == 1
        with pytest.raises(MotionFileError, match="entry 0 is too short; got 10 numbers"):
            published[0]
        with pytest.raises(IndexError, match=r"must lie in 0\.\.0; got 1"):
            published[1]


def test_what_is_no_data_base(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="needs the extra 'data'")
    (tmp_path / "text").write_text("no data base")
    with pytest.raises(MotionFileError, match="expected an LMDB data base"):
        GlobalDiffLMDB(tmp_path / "text")
    with pytest.raises(FileNotFoundError, match="No data base"):
        GlobalDiffLMDB(tmp_path / "nowhere")


def test_without_lmdb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match=r"needs lmdb: pip install 'cospeech\[data\]'"):
        GlobalDiffLMDB(tmp_path)
