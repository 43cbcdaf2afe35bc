"""Plots appear, hold what they name, and say what they need."""

from __future__ import annotations

import pytest
import torch

from cospeech.metrics import BeatRule
from cospeech.viz import save_beat_plot, save_distribution_plot, save_metric_plots

pytest.importorskip("matplotlib")


def result(label: str) -> dict:
    metric = {"name": "bc", "value": 0.5, "low": 0.4, "high": 0.6, "reference": 0.7}
    return {"label": label, "metrics": [metric], "per_clip": {"bc": {"a": 0.4, "b": 0.6}}}


def test_metric_plots(tmp_path):
    paths = save_metric_plots(tmp_path, [result("one"), result("two")])
    assert [path.name for path in paths] == ["distributions.svg", "comparison.svg"]
    assert all(path.read_text().startswith("<?xml") for path in paths)
    assert len(save_metric_plots(tmp_path, [result("one")])) == 1
    with pytest.raises(ValueError, match="must hold values of single clips"):
        save_distribution_plot(tmp_path / "x.svg", [result("one") | {"per_clip": {}}])


def test_beat_plot(tmp_path):
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(200, 3, 3, generator=generator).cumsum(0) * 0.01
    save_beat_plot(
        tmp_path / "beats.png",
        positions,
        torch.tensor([0.2, 1.0]),
        rate_hz=30.0,
        usual_speeds=torch.ones(3),
        rule=BeatRule(),
        joint=1,
    )
    assert (tmp_path / "beats.png").read_bytes().startswith(b"\x89PNG")
