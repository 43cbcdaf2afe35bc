"""Weights spread over two processes learn what whole ones learn, are written whole, and go on from any checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import launch
import pytest
import torch
import toy
from safetensors.torch import load_file

from cospeech.training.config import ConfigError
from cospeech.training.journal import read_metrics
from cospeech.training.loop import make_accelerator, train

TOY = str(Path(toy.__file__))
# Validations lie apart from checkpoints, which gather: whole weights left behind by one would show in the next step.
WHOLE, SPREAD, HALF, HALF_SPREAD = (
    json.dumps({"validate_every": 3, **options})
    for options in ({}, {"shard": True}, {"precision": "fp16"}, {"precision": "fp16", "shard": True})
)


def weights(folder: Path, step: int = 10) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint."""
    files = sorted((folder / "checkpoints" / f"step-{step:08d}").glob("*.safetensors"))
    return {f"{path.stem}/{name}": tensor for path in files for name, tensor in load_file(path).items()}


def losses(folder: Path) -> list[float]:
    """The losses of a run, and those of held-out items."""
    return [value for line in read_metrics(folder) for name, value in line.items() if "/" in name]


def assert_near(ours: Path, theirs: Path) -> None:
    assert losses(ours) == pytest.approx(losses(theirs), rel=2e-5)
    expected = weights(theirs)
    found = weights(ours)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.torch26
def test_spread_weights(tmp_path: Path) -> None:
    names = ("spread", "whole", "pair", "again", "to_whole", "to_spread", "one", "half_spread", "half")
    spread, whole, pair, again, to_whole, to_spread, one, half_spread, half = (tmp_path / name for name in names)
    # Batches of three leave held-out batches of 3 and 1 to one process and one of 3 to the other.
    programs = [f"noisy:{spread}:10:3:{SPREAD}", f"noisy:{whole}:10:3:{WHOLE}", f"plain:{pair}:10:3:{SPREAD}"]
    programs += [f"cut:{spread}:{again}:5", f"cut:{spread}:{to_whole}:5", f"cut:{whole}:{to_spread}:5"]
    programs += [f"noisy:{again}:10:3:{SPREAD}", f"noisy:{to_whole}:10:3:{WHOLE}", f"noisy:{to_spread}:10:3:{SPREAD}"]
    programs += [f"noisy:{half_spread}:10:3:{HALF_SPREAD}", f"noisy:{half}:10:3:{HALF}"]
    launch.finish(launch.start([TOY, *programs], 2))

    assert weights(spread)["model/layers.0.weight"].shape == (16, 16)
    assert weights(spread)["optimizer/layers.0.weight/exp_avg"].shape == (16, 16)
    for folder in (spread, to_whole, to_spread):
        assert_near(folder, whole)
    assert losses(half_spread) == pytest.approx(losses(half), rel=2e-3)  # one step is left out, by both
    assert losses(half) != pytest.approx(losses(whole), rel=2e-3)
    assert losses(again) == losses(spread)
    expected = weights(spread)
    for name, tensor in weights(again).items():
        assert torch.equal(tensor, expected[name]), name

    train(toy.Toy("plain"), toy.run(one, 10, 6, validate_every=3), toy.RULE, toy.SCHEDULE)
    assert losses(pair) == pytest.approx(losses(one), rel=2e-5)
    for folder in (spread, pair):  # the finished model is whole, and the first process alone has written it
        (finished,) = (folder / "model").iterdir()
        assert finished.name == "by-0.safetensors"
        for name, tensor in load_file(finished).items():
            learned = "average" if f"average/{name}" in weights(folder) else "model"  # buffers have no average
            assert torch.equal(tensor, weights(folder)[f"{learned}/{name}"]), name


def test_one_process_has_nothing_to_spread(tmp_path: Path) -> None:
    for name, shard in (("plain", False), ("spread", True)):
        train(toy.Toy(), toy.run(tmp_path / name, 5, 4, shard=shard), toy.RULE)
    assert losses(tmp_path / "plain") == losses(tmp_path / "spread")


def test_the_engines_own_spreading_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"set run\.shard=true"):
        make_accelerator(toy.run(tmp_path, 5, 4))
