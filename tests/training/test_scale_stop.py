"""How several processes end together: SIGTERM after a checkpoint, and a loss of one that is not finite."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import launch
import pytest
import toy
from safetensors.torch import load_file

from cospeech.training.checkpoint import find_checkpoints
from cospeech.training.interruption import Interruption
from cospeech.training.journal import read_metrics
from cospeech.training.loop import make_accelerator, train

TOY = str(Path(toy.__file__))


def test_sigterm_to_one_process_leaves_a_checkpoint_of_that_step_and_ends_all(tmp_path: Path) -> None:
    # A checkpoint every 1000 steps: without the signal there would be none. A process makes the batches.
    options = '{"checkpoint_every": 1000, "workers": 1}'
    processes = launch.start([TOY, f"slow:{tmp_path}:400:4:{options}"], 2)
    launch.wait_for_lines(processes, 6, tmp_path / "metrics.jsonl")
    processes[1].send_signal(signal.SIGTERM)
    try:
        assert [process.wait(60) for process in processes] == [-signal.SIGTERM] * 2
    finally:
        launch.kill(processes)
    (checkpoint,) = find_checkpoints(tmp_path / "checkpoints")
    assert int(checkpoint.name.removeprefix("step-")) == read_metrics(tmp_path)[-1]["step"] >= 6
    assert (checkpoint / "random-1.safetensors").exists()


def test_a_loss_of_one_process_that_is_not_finite_ends_the_others(tmp_path: Path) -> None:
    processes = launch.start([TOY, f"broken:{tmp_path}:400:4"], 2)
    begin = time.monotonic()
    try:
        assert all(process.wait(120) != 0 for process in processes)
    finally:
        launch.kill(processes)
    assert time.monotonic() - begin < 120
    (saved,) = tmp_path.glob("not-finite-step-00000007-process-1.safetensors")
    assert load_file(saved)["batch"].shape == (4, 5)


def test_a_run_that_sigterm_ended_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Exception):
        """Stands for the end of the process."""

    class Terminated(toy.Toy):
        def losses(self, *inputs: object) -> object:
            if inputs[-1].step == 7:
                signal.raise_signal(signal.SIGTERM)
            return super().losses(*inputs)

    def end(_: Interruption) -> None:
        raise Ended

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr(Interruption, "obey", end)
    with pytest.raises(Ended):
        train(Terminated(), toy.run(cut, 12, 4), toy.RULE, toy.SCHEDULE)
    assert [path.name for path in find_checkpoints(cut / "checkpoints")] == ["step-00000005", "step-00000008"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for folder in (whole, cut):
        train(toy.Toy(), toy.run(folder, 12, 4), toy.RULE, toy.SCHEDULE)
    for file in ("model", "optimizer", "average", "random-0"):
        last = f"checkpoints/step-00000012/{file}.safetensors"
        assert (cut / last).read_bytes() == (whole / last).read_bytes()


def test_a_handler_of_somebody_else_stays(tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            assert not interruption.asked(make_accelerator(toy.run(tmp_path, 1, 1)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]
