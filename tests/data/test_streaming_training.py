"""Tasks of windows train from a stream as from the disk, and go on where a kill cut them off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import streams
import torch
from safetensors.torch import load_file

from cospeech.data import ProceduralSource
from cospeech.training import Clock, RunConfig, load_recipes, read_metrics, train
from cospeech.training.journal import tensors_in
from cospeech.training.order import ShardOrder, seeded
from cospeech.training.tasks.windows import SourceChoice

pytest.importorskip("aiohttp")
pytest.importorskip("webdataset")
pytest.importorskip("accelerate")

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
TASKS = {
    "small/emage-vqvae.toml": ["task.model.num_codes=16", "task.start_at_mean=false"],
    "small/globaldiff-denoiser.toml": ["task.model.hidden_dim=32"],
    "small/diffsheg.toml": [],
    "small/camn.toml": ["task.model.hidden_dim=32"],
}


def near_and_far(recipe: str, folder: Path, url: str) -> tuple[Any, Any]:
    """A task on stand-ins, and the same on the tars that it writes of them in ``folder / "served"``."""
    (found,) = load_recipes(RECIPES / recipe, TASKS[recipe])
    task = found.task.rehearsal(folder)
    source = SourceChoice(procedural=ProceduralSource(clips=1, seconds=30.0 + 10.0 * ("camn" in recipe)))
    tars = {"tars": str(folder / "served"), "windows_per_tar": 4, "prepared": f"{folder}/windows/"}
    data = dataclasses.replace(task.data, source=source, held_out="tenths", **tars)
    reports = data.prepare()
    assert reports[str(folder / "served" / "train")].windows > 8
    far = {"prepared": f"{url}/train", "held_out": f"{url}/held-out", "stream": True, "tars": "", "source": None}
    stream = dataclasses.replace(data, cache=str(folder / "cache"), **far)
    return dataclasses.replace(task, data=data), dataclasses.replace(task, data=stream)


@pytest.mark.parametrize("recipe", TASKS)
def test_every_task_learns_from_a_stream(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with streams.serve(tmp_path / "served") as served:
        near, far = (config.build() for config in near_and_far(recipe, tmp_path, served.url))
        assert (near.num_items, near.num_held_out) == (far.num_items, far.num_held_out)
        assert sum(far.shard_sizes) == far.num_items
        assert near.num_held_out > 0
        held = [dict(tensors_in(task.batch([task.num_items], seeded(0)))) for task in (near, far)]
        assert held[0].keys() == held[1].keys()
        for name, tensor in held[0].items():  # diffsheg's statistics are sums in another order
            torch.testing.assert_close(tensor, held[1][name], rtol=1e-3, atol=1e-3)
        losses = far.losses(far.model, far.batch([0, 1], seeded(0)), Clock(0, 1, 0.0, seeded(1)))
        assert bool(losses["total"].isfinite())


def test_tasks_that_need_all_windows_say_so(tmp_path: Path) -> None:
    (recipe,) = load_recipes(RECIPES / "small" / "disco.toml")
    data = dataclasses.replace(recipe.task.data, stream=True, held_out="none")
    with pytest.raises(ValueError, match="`stream` must be false"):
        data.fingerprint()
    with pytest.raises(ValueError, match="`held_out` must be none or a URL"):
        dataclasses.replace(data, held_out="tenths")


class Killed(Exception):
    """The end of a process."""


def test_a_killed_training_from_a_stream_goes_on_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()

    def run(folder: str, config: Any, *, kill_at: int = -1) -> None:
        torch.manual_seed(0)
        task = config.build()
        make = task.batch

        def batch(items: Sequence[int], generator: torch.Generator) -> Any:
            nonlocal kill_at
            kill_at -= task.num_items > items[0]
            if kill_at == 0:
                raise Killed
            return make(items, generator)

        task.batch = batch
        settings = {"steps": 6, "batch_size": 2, "checkpoint_every": 2, "validate_every": 3, "log_every": 1}
        train(task, RunConfig(folder=str(tmp_path / folder), **settings))

    def state(folder: str) -> dict[str, bytes]:
        paths = sorted((tmp_path / folder / "checkpoints" / "step-00000006").glob("*.safetensors"))
        return {f"{p.name}/{k}": v.numpy().tobytes() for p in paths for k, v in load_file(p).items()}

    def curve(folder: str) -> list[dict[str, float]]:
        lines = read_metrics(tmp_path / folder)
        return [{name: value for name, value in line.items() if name != "seconds_per_step"} for line in lines]

    with streams.serve(tmp_path / "served") as served:
        _, far = near_and_far("small/emage-vqvae.toml", tmp_path, served.url)
        run("whole", far)
        with pytest.raises(Killed):
            run("cut", far, kill_at=5)
        again = dataclasses.replace(far, data=dataclasses.replace(far.data, cache=str(tmp_path / "empty")))
        served.tars()
        run("cut", again)
        order = ShardOrder(again.build().shard_sizes, 2, 0)
        fetched = [path for path in served.tars() if "train" in path]
    assert state("cut") == state("whole")
    assert curve("cut") == curve("whole")
    assert any("validation/total" in line for line in curve("cut"))
    tars = {item // 4 for number in range(4, 6) for item in order.items(number)}
    assert len(fetched) == len(tars)  # those of the last steps alone
