"""A training that is killed anywhere and started again ends with the very weights of one that was not; and two
processes are one with batches twice as large.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import launch
import pytest
import torch
import toy
from safetensors.torch import load_file

from cospeech.errors import CheckpointError
from cospeech.training.checkpoint import find_checkpoints, newest_checkpoint
from cospeech.training.journal import TrainingError, read_metrics
from cospeech.training.loop import train

STEPS = 40
TOY = str(Path(toy.__file__))


def state(folder: Path, step: int = STEPS) -> dict[str, bytes]:
    """Every tensor of a checkpoint, as bytes."""
    checkpoint = folder / "checkpoints" / f"step-{step:08d}"
    return {
        f"{path.name}/{name}": tensor.numpy().tobytes()
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def curve(folder: Path) -> list[dict[str, float]]:
    """What was logged, times aside."""
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in read_metrics(folder)]


def toy_train(
    folder: Path, steps: int, *, kind: str = "noisy", batch: int = 4, broken: int = -1, **options: Any
) -> None:
    train(toy.Toy(kind, broken_step=broken), toy.run(folder, steps, batch, **options), toy.RULE, toy.SCHEDULE)


def killed(folder: Path, num_processes: int) -> None:
    """A run that SIGKILL ended at a step drawn by chance."""
    processes = launch.start([TOY, f"slow:{folder}:{STEPS}:4"], num_processes)
    launch.kill_at(processes, random.randrange(8, STEPS - 5), folder / "metrics.jsonl")
    assert find_checkpoints(folder / "checkpoints"), "killed before the first checkpoint"
    assert not (folder / "checkpoints" / f"step-{STEPS:08d}").exists(), "killed too late"


def test_one_process_killed_and_resumed_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    killed(cut, 1)
    for folder in (whole, cut):
        toy_train(folder, STEPS)
    assert state(cut) == state(whole)
    assert curve(cut) == curve(whole)


def test_two_processes_killed_and_resumed_and_beside_one_with_twice_the_batch(tmp_path: Path) -> None:
    whole, cut, pair, one = (tmp_path / name for name in ("whole", "cut", "pair", "one"))
    killed(cut, 2)
    programs = [f"noisy:{cut}:{STEPS}:4", f"noisy:{whole}:{STEPS}:4", f"plain:{pair}:20:3"]
    launch.finish(launch.start([TOY, *programs], 2))
    assert {"random-0.safetensors/torch", "random-1.safetensors/torch"} <= state(cut).keys()
    assert state(cut) == state(whole)
    assert curve(cut) == curve(whole)

    toy_train(one, 20, kind="plain", batch=6)
    lines = list(zip(curve(pair), curve(one), strict=True))
    # Held-out items are merged over ranks that have unequal shares of them, 4 and 3.
    assert sum("validation/total" in line for line, _ in lines) == 2
    for ours, theirs in lines:
        assert ours == pytest.approx(theirs, rel=2e-5), ours["step"]
    last = "checkpoints/step-00000020/model.safetensors"
    for name, tensor in load_file(pair / last).items():
        torch.testing.assert_close(tensor, load_file(one / last)[name], atol=1e-5, rtol=1e-4)


def test_a_broken_newest_checkpoint_is_named_and_passed_over(tmp_path: Path) -> None:
    toy_train(tmp_path, 20)
    whole = state(tmp_path, 20)
    newest = find_checkpoints(tmp_path / "checkpoints")[-1]
    weights = bytearray((newest / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (newest / "model.safetensors").write_bytes(weights)
    with pytest.warns(UserWarning, match=r"step-00000020 is passed over: model.safetensors changed"):
        toy_train(tmp_path, 20)
    assert state(tmp_path, 20) == whole


def test_newest_passes_over_what_is_cut_off_and_says_when_nothing_is_left(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None
    toy_train(tmp_path, 10)
    older, newer = find_checkpoints(tmp_path / "checkpoints")
    (newer / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="step-00000010 is passed over"):
        assert newest_checkpoint(tmp_path / "checkpoints") == older
    shutil.rmtree(older)
    with pytest.warns(UserWarning, match="step-00000010"), pytest.raises(CheckpointError, match="are broken"):
        newest_checkpoint(tmp_path / "checkpoints")


def test_old_checkpoints_go(tmp_path: Path) -> None:
    toy_train(tmp_path, 30, keep_checkpoints=2)
    assert [path.name for path in find_checkpoints(tmp_path / "checkpoints")] == ["step-00000025", "step-00000030"]


def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_its_batch(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 7 is not finite \(total inf, half inf\)"):
        toy_train(tmp_path, 20, broken=7)
    (saved,) = tmp_path.glob("not-finite-step-00000007-process-0.safetensors")
    assert load_file(saved)["batch"].shape == (4, 5)
    assert [path.name for path in find_checkpoints(tmp_path / "checkpoints")] == ["step-00000005"]
