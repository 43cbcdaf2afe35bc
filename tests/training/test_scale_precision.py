"""Half precision learns what single does, goes on exactly, and an overflow of scaled gradients costs one step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from cospeech.hub.config import read_json
from cospeech.training.config import OptimizerConfig
from cospeech.training.journal import read_metrics
from cospeech.training.loop import train
from cospeech.training.task import Clock, Terms


def toy_train(folder: Path, precision: str, steps: int = 20, **options: Any) -> None:
    settings = toy.run(folder, steps, 4, precision=precision, keep_checkpoints=9, **options)
    train(toy.Toy(), settings, toy.RULE, toy.SCHEDULE)


def state(folder: Path, step: int) -> Mapping[str, torch.Tensor]:
    checkpoint = folder / "checkpoints" / f"step-{step:08d}"
    files = sorted(checkpoint.glob("*.safetensors"))
    return {f"{path.stem}/{name}": tensor for path in files for name, tensor in load_file(path).items()}


def scale(folder: Path, step: int) -> float:
    return float(read_json(folder / "checkpoints" / f"step-{step:08d}" / "state.json")["scaler"]["scale"])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_single_and_resumes_exactly(tmp_path: Path, precision: str) -> None:
    single, half, cut = (tmp_path / name for name in ("single", "half", "cut"))
    toy_train(single, "no")
    toy_train(half, precision)
    exact, near = ([line["loss/total"] for line in read_metrics(f) if "loss/total" in line] for f in (single, half))
    # fp16 leaves out a step or two until the scale, 65536 at first, fits these gradients.
    assert near == pytest.approx(exact, rel=0.02 if precision == "bf16" else 0.2)
    assert near != exact
    assert all(tensor.dtype != torch.float16 for tensor in state(half, 20).values())

    toy.cut(str(half), str(cut), 10)
    toy_train(cut, precision)
    expected, found = state(half, 20), state(cut, 20)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    if precision == "fp16":
        assert scale(cut, 20) == scale(half, 20)


class Overflowing(toy.Toy):
    """Its loss is finite, and its gradients in one step too large for the scale."""

    def losses(self, model: torch.nn.Module, batch: torch.Tensor, clock: Clock) -> Terms:
        found = dict(super().losses(model, batch, clock))
        if clock.step == 7 and model.training:
            found["total"] = found["total"] * 1e36
        return found


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_an_overflow_leaves_weights_and_average_and_the_run_goes_on(tmp_path: Path, name: str) -> None:
    settings = toy.run(tmp_path, 10, 4, precision="fp16", checkpoint_every=1, keep_checkpoints=9)
    train(Overflowing(), settings, OptimizerConfig(name=name, learning_rate=0.01, clip_norm=1.0))
    before, after = state(tmp_path, 7), state(tmp_path, 8)
    for key, tensor in before.items():
        if not key.startswith("random") and not key.endswith("/seen"):  # a buffer follows the data
            assert torch.equal(after[key], tensor), key
    assert scale(tmp_path, 8) == scale(tmp_path, 7) / 2
    moved = state(tmp_path, 9)
    assert not torch.equal(moved["model/first.weight"], after["model/first.weight"])
    assert all(tensor.isfinite().all() for tensor in moved.values())


def test_an_overflow_in_the_first_step_leaves_no_momentum_behind(tmp_path: Path) -> None:
    # 65536 times a loss this large is beyond float32: torch's fused SGD would go on from memory that nobody wrote.
    class First(toy.Toy):
        def losses(self, model: torch.nn.Module, batch: torch.Tensor, clock: Clock) -> Terms:
            return {"total": super().losses(model, batch, clock)["total"] * (1e36 if clock.step == 0 else 1.0)}

    train(First(), toy.run(tmp_path, 2, 4, precision="fp16", checkpoint_every=1), OptimizerConfig(name="sgd"))
    assert not any(name.startswith("optimizer/") for name in state(tmp_path, 1))
    assert state(tmp_path, 2)["optimizer/first.weight/momentum_buffer"].isfinite().all()
