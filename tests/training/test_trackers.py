"""Trackers are told what ``metrics.jsonl`` has, each step once, whatever cuts a training off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import launch
import numpy as np
import pytest
import toy
from accelerate.tracking import GeneralTracker

from cospeech.errors import MissingExtraError
from cospeech.training import ConfigError
from cospeech.training.journal import read_metrics
from cospeech.training.loop import make_accelerator, train
from cospeech.training.trackers import check_trackers


class Killed(Exception):
    """The end of a process."""


class FakeTracker(GeneralTracker):
    """Remembers what it is told."""

    name, requires_logging_directory = "fake", False

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] | None = None
        self.told: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    @property
    def tracker(self) -> list[tuple[int, dict[str, float]]]:
        return self.told

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        assert self.config is None, "told twice"
        self.config = values

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        assert step is not None
        self.told.append((step, values))

    def finish(self) -> None:
        self.finished += 1


class Mortal(toy.Toy):
    """Dies where it is told to."""

    def __init__(self, kill_at: int):
        super().__init__()
        self.kill_at = kill_at

    def losses(self, model: Any, batch: Any, clock: Any) -> Any:
        if clock.step == self.kill_at:
            raise Killed
        return super().losses(model, batch, clock)


def train_with(tracker: FakeTracker | str, folder: Path, *, steps: int = 20, kill_at: int = -1) -> None:
    names = (tracker,) if isinstance(tracker, str) else ()
    run = toy.run(folder, steps, 4, trackers=names)
    accelerator = make_accelerator(run)
    if isinstance(tracker, FakeTracker):
        accelerator.log_with = [tracker]
    train(Mortal(kill_at), run, toy.RULE, toy.SCHEDULE, accelerator=accelerator)


def lines(folder: Path) -> list[tuple[int, dict[str, float]]]:
    found = [dict(line) for line in read_metrics(folder)]
    return [(int(line.pop("step")), line) for line in found]


def untimed(told: list[tuple[int, dict[str, float]]]) -> list[tuple[int, dict[str, float]]]:
    return [(step, {k: v for k, v in values.items() if k != "seconds_per_step"}) for step, values in told]


def test_a_tracker_is_told_the_metrics_and_the_settings(tmp_path: Path) -> None:
    tracker = FakeTracker()
    train_with(tracker, tmp_path / "plain")
    assert tracker.told == lines(tmp_path / "plain")
    assert {"loss/total", "learning_rate", "seconds_per_step"} <= tracker.told[0][1].keys()
    assert any("validation/total" in values for _, values in tracker.told)
    assert tracker.config is not None
    assert (tracker.config["run.steps"], tracker.config["optimizer.betas"]) == (20, "[0.9, 0.999]")
    assert all(isinstance(value, (bool, int, float, str)) for value in tracker.config.values())
    assert tracker.finished == 1

    again = FakeTracker()  # a training that is done begins no run
    train_with(again, tmp_path / "plain")
    assert (again.told, again.config, again.finished) == ([], None, 0)

    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recipe.json").write_text(json.dumps({"task_name": "toy", "task": {"model": {"dim": 3}}}))
    tracker = FakeTracker()
    train_with(tracker, tmp_path / "recipe")
    assert tracker.config == {"task_name": "toy", "task.model.dim": 3}


def test_steps_that_are_done_again_are_told_once(tmp_path: Path) -> None:
    whole, cut = FakeTracker(), FakeTracker()
    train_with(whole, tmp_path / "whole")
    for kill_at in (13, 11, 18):  # checkpoints are at 5, 10, 15: steps 11 to 13 are done three times
        with pytest.raises(Killed):
            train_with(cut, tmp_path / "cut", kill_at=kill_at)
    train_with(cut, tmp_path / "cut")
    assert untimed(cut.told) == untimed(whole.told)
    assert untimed(lines(tmp_path / "cut")) == untimed(whole.told)

    anew = FakeTracker()  # killed before the first checkpoint: another run, which is told all
    with pytest.raises(Killed):
        train_with(FakeTracker(), tmp_path / "early", kill_at=3)
    before = json.loads((tmp_path / "early" / "trackers.json").read_text())
    train_with(anew, tmp_path / "early")
    assert untimed(anew.told) == untimed(whole.told)
    assert json.loads((tmp_path / "early" / "trackers.json").read_text())["name"] != before["name"]


def test_trackers_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"Unknown tracker 'tensorbored' in run\.trackers; choose from aim, all"):
        check_trackers(["tensorbored"])
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(MissingExtraError, match="Tracker 'tensorboard' is not installed: pip install tensorboard"):
        make_accelerator(toy.run("nowhere", 1, 1, trackers=("tensorboard",)))


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of TensorBoard's event files, by tag."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(folder / "cospeech"))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected(folder: Path) -> dict[str, list[tuple[int, float]]]:
    values: dict[str, list[tuple[int, float]]] = {}
    for step, line in lines(folder):
        for name, value in line.items():
            values.setdefault(name, []).append((step, float(np.float32(value))))
    return values


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_values_of_the_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train_with("tensorboard", tmp_path / "whole")
    assert events(tmp_path / "whole") == expected(tmp_path / "whole")
    settings = list((tmp_path / "whole" / "cospeech").glob("*/hparams.yml"))
    assert len(settings) == 1
    assert "optimizer.name: adamw" in settings[0].read_text()

    for kill_at in (3, 13, 18):
        with pytest.raises(Killed):
            train_with("tensorboard", tmp_path / "cut", kill_at=kill_at)
    train_with("tensorboard", tmp_path / "cut")
    assert events(tmp_path / "cut") == expected(tmp_path / "cut")
    assert {k: v for k, v in events(tmp_path / "cut").items() if k != "seconds_per_step"} == {
        k: v for k, v in events(tmp_path / "whole").items() if k != "seconds_per_step"
    }


def test_only_the_main_of_two_processes_writes_and_a_second_training_follows(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    program = Path(__file__).parent / "tracked.py"
    folders = [str(tmp_path / name) for name in ("one", "two")]
    launch.finish(launch.start([str(program), *folders], 2))
    for name in ("one", "two"):
        files = list((tmp_path / name / "cospeech").glob("events*"))
        assert len(files) == 1
        assert events(tmp_path / name) == expected(tmp_path / name)
