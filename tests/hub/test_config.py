"""Configurations as JSON: there and back, and what a stranger's file may not do."""

from __future__ import annotations

import dataclasses
import json
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.errors import CheckpointError
from cospeech.hub import config_from_dict, config_to_dict, read_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate_hz: float = 30.0
    kind: Literal["prosody", "speech"] = "prosody"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    width: int = 4
    name: str = "x"
    causal: bool = False
    joints: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "a")
    limit: int | None = None
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"`width` must be positive; got {self.width}.")


small = st.integers(1, 2**31 - 1)


@given(
    st.builds(
        Outer,
        width=small,
        name=st.text(),
        causal=st.booleans(),
        joints=st.lists(small).map(tuple),
        limit=st.none() | small,
        inner=st.builds(Inner, rate_hz=st.floats(allow_nan=False, allow_infinity=False)),
    )
)
@settings(deadline=None, max_examples=25)
def test_there_and_back(config):
    text = json.dumps(config_to_dict(config))
    assert config_from_dict(Outer, json.loads(text)) == config


def test_fields_left_out_take_defaults():
    assert config_from_dict(Outer, {}) == Outer()
    assert config_from_dict(Inner, {"rate_hz": 25}) == Inner(rate_hz=25.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widht": 4, "other": 1}, "Unknown fields in config: other, widht"),
        ({"width": "4"}, "config.width must be int; got '4'"),
        ({"width": True}, "config.width must be int; got True"),
        ({"width": 4.0}, "config.width must be int; got 4.0"),
        ({"width": 10**12}, "config.width must be int"),
        ({"width": None}, "config.width must be int; got None"),
        ({"causal": 1}, "config.causal must be bool; got 1"),
        ({"joints": 3}, r"config.joints must be tuple\[int, ...\]; got 3"),
        ({"joints": [1, "2"]}, r"config.joints\[1\] must be int; got '2'"),
        ({"pair": [1, "a", 2]}, "config.pair must be"),
        ({"limit": "no"}, "config.limit must be int; got 'no'"),
        ({"inner": {"kind": "video"}}, "config.inner.kind must be"),
        ({"inner": {"kind": []}}, "config.inner.kind must be"),
        ({"inner": {"rate_hz": False}}, "config.inner.rate_hz must be float; got False"),
        ({"inner": 3}, "config.inner must be Inner; got 3"),
        ({"width": 0}, "config does not fit Outer: `width` must be positive; got 0"),
        ({"name": ["x" * 1000]}, r"config.name must be str; got \['x{50,55}\.\.\.\."),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(CheckpointError, match=message):
        config_from_dict(Outer, fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[1, 2]", "must hold a JSON object; got list"),
        (b'{"rate_hz": NaN}', "NaN is not a JSON number"),
        (b"[" * 200_000, "is not valid JSON"),
        (b" " * (1 << 20) + b"{}", "must not exceed 1048576 bytes"),
    ],
    ids=["empty", "cut off", "not text", "a list", "nan", "deep", "large"],
)
def test_files_that_are_refused(content, message, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_json(tmp_path / "config.json")


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"config.json cannot be read: No such file"):
        read_json(tmp_path / "config.json")
