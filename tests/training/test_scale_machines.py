"""Several machines: one of them prepares the folder that all see, and two of one process are one of two."""

from __future__ import annotations

from pathlib import Path

import launch
import pytest
import toy

from cospeech.training.journal import read_metrics
from cospeech.training.loop import train
from cospeech.training.plan import plan_training
from cospeech.training.recipes import load_recipes
from cospeech.training.tasks.windows import main_process_first

TAE = Path(__file__).parents[2] / "examples/recipes/small/tae.toml"


@pytest.mark.parametrize(("rank", "called"), [("0", 1), ("1", 0)])
def test_one_process_of_all_machines_prepares(monkeypatch: pytest.MonkeyPatch, rank: str, called: int) -> None:
    # Two would remove each other's unfinished files. Each is the first of its machine.
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_RANK", "0")
    calls: list[int] = []
    main_process_first(lambda: calls.append(1))
    assert len(calls) == called


def test_two_machines_of_one_process_follow_one_process_with_twice_the_batch(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    launch.finish(launch.start([str(Path(toy.__file__)), f"plain:{two}:10:3"], 2, machines=2))
    train(toy.Toy("plain"), toy.run(one, 10, 6), toy.RULE, toy.SCHEDULE)
    losses = [[v for line in read_metrics(folder) for k, v in line.items() if "/" in k] for folder in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    assert [path.name for path in (two / "model").iterdir()] == ["by-0.safetensors"]


def test_a_plan_knows_what_spreading_saves() -> None:
    whole_weights = {"shard=true": 2 + 4 / 8, "shard=false": 4}
    for change, copies in whole_weights.items():
        (recipe,) = load_recipes(TAE, ["task.model.hidden_dim=16", "run.ema_decay=0.0", f"run.{change}"])
        plan = plan_training(recipe, num_processes=8)
        assert plan.state_bytes == 4 * plan.parameters * copies
