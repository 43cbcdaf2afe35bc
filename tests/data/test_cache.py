"""Laws of the feature cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cospeech.data import FeatureCache


class Counting:
    """Features that count how often they are made."""

    def __init__(self, revision: str = "1"):
        self.revision, self.calls = revision, 0

    def __call__(self, waveform: Tensor) -> Tensor:
        self.calls += 1
        return waveform.reshape(len(waveform), -1, 4) + float(self.revision)


def test_each_recording_is_heard_once(tmp_path: Path) -> None:
    features = Counting()
    cache = FeatureCache(tmp_path / "made", features)
    windows = torch.randn(2, 8)
    assert torch.equal(cache(windows), features(windows))
    assert torch.equal(cache(windows.clone()), cache(windows))
    assert features.calls == 2  # one by the cache, one by this test
    assert torch.equal(FeatureCache(tmp_path / "made", features)(windows), windows.reshape(2, 2, 4) + 1)
    assert features.calls == 2


def test_other_samples_and_other_extractors_are_others(tmp_path: Path) -> None:
    first, second = FeatureCache(tmp_path, Counting("1")), FeatureCache(tmp_path, Counting("2"))
    windows = torch.randn(2, 8)
    keys = {first.key(windows), second.key(windows), first.key(windows + 1e-6), first.key(windows.reshape(1, 16))}
    keys |= {first.key(windows.double()), first.key(torch.nn.functional.pad(windows, (0, 4)))}
    assert len(keys) == 6
    assert not torch.equal(first(windows), second(windows))


@pytest.mark.parametrize("damage", [b"", b"not a safetensors file", None])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    features = Counting()
    cache, windows = FeatureCache(tmp_path, features), torch.randn(1, 8)
    kept = cache(windows)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-3] if damage is None else damage)
    assert torch.equal(cache(windows), kept)
    assert features.calls == 2
    assert torch.equal(cache(windows), kept)
    assert features.calls == 2
