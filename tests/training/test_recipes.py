"""Recipes: what is read, what is refused, what they train."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from cospeech.cli import main
from cospeech.hub import load_model
from cospeech.models import CausalTAE
from cospeech.training.causal_tae import tae_learning_rate
from cospeech.training.config import ConfigError, RunConfig, ScheduleConfig, read_toml
from cospeech.training.journal import read_metrics
from cospeech.training.motionstreamer import streamer_learning_rate
from cospeech.training.optimizers import rate_factor
from cospeech.training.plan import plan_training
from cospeech.training.recipes import load_recipes, run_recipe

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
ALL = sorted(path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*.toml"))
TAE = RECIPES / "small" / "tae.toml"


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_can_be_read(name: str) -> None:
    assert load_recipes(RECIPES / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("run.stepz=3", r"Unknown field run.stepz; did you mean 'steps'\?"),
        ("task.model.hiden_dim=3", r"Unknown field task.model.hiden_dim; did you mean 'hidden_dim'\?"),
        ("task.data.procedural.clip=3", r"Unknown field task.data.procedural.clip; did you mean 'clips'\?"),
        ("optimizer.zzz=1", "Unknown field optimizer.zzz; choose from name, learning_rate"),
        ("run.steps=many", "run.steps must be int; got 'many'"),
        ("run.steps=true", "run.steps must be int; got True"),
        ("run.steps=0", "`steps` must be at least 1; got 0"),
        ("run.precision=half", "run.precision must be"),
        ("optimizer=3", "optimizer must be a table; got 3"),
        ("task.name=taee", "unknown task.name 'taee'; choose from emage-vqvae"),
        ("speed.up=1", "unknown table 'speed'"),
        ("task.data.files.motion=['a.npz']", "task.data.files needs 'audio'"),
        ("run.steps", "An override must read name=value"),
        ("run.steps.more=1", "goes through 'steps', which is no table"),
    ],
)
def test_what_does_not_fit_is_named(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipes(TAE, [change])


def test_two_sources_and_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="one table of humanml272, babel272, files, procedural is wanted"):
        load_recipes(TAE, ["task.data.humanml272.folder=x"])
    with pytest.raises(
        ConfigError, match="one table of beat2, beat, npz_folder, files and procedural is wanted; got none"
    ):
        load_recipes(RECIPES / "small" / "diffsheg.toml", ["task.data.source={}"])


def test_overrides_are_toml_or_text() -> None:
    (recipe,) = load_recipes(TAE, ["run.folder=some/where", "optimizer.betas=[0.5, 0.9]", "run.seed=7"])
    assert (recipe.run.folder, recipe.optimizer.betas, recipe.run.seed) == ("some/where", (0.5, 0.9), 7)


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[run\n")
    with pytest.raises(ConfigError, match=r"bad.toml is not valid TOML"):
        read_toml(tmp_path / "bad.toml")
    (tmp_path / "stages.toml").write_text('stages = ["a.toml"]\n[run]\nsteps = 3\n')
    with pytest.raises(ConfigError, match="must list recipes, and stand alone"):
        load_recipes(tmp_path / "stages.toml")


def test_a_stage_may_carry_overrides_and_the_command_line_comes_last(tmp_path: Path) -> None:
    stage = f"{TAE} 'run.folder=my runs/a' run.steps=7"
    (tmp_path / "stages.toml").write_text(f'stages = ["{stage}", "{TAE}"]\n')
    first, second = load_recipes(tmp_path / "stages.toml", ["run.steps=9"])
    assert (first.run.folder, first.run.steps) == ("my runs/a", 9)
    assert (second.run.folder, second.run.steps) == ("runs/small/tae", 9)


def test_the_small_stages_hand_their_models_on() -> None:
    emage = load_recipes(RECIPES / "small" / "emage.toml")
    made = [f"{recipe.run.folder}/model" for recipe in emage]
    last = emage[-1].task
    assert [last.upper, last.face, last.hands, last.lower, last.global_motion] == made[:-1]
    assert [recipe.task.part for recipe in emage[:4]] == ["upper", "face", "hands", "lower"]
    speech, denoiser = load_recipes(RECIPES / "small" / "globaldiff.toml")
    assert denoiser.task.speech_model == f"{speech.run.folder}/model"


def test_the_schedules_of_the_recipes_are_the_published_ones() -> None:
    (tae,) = load_recipes(RECIPES / "motionstreamer" / "tae.toml")
    for step in (0, 1, 500, 997, 998, 999, 1_900_998, 1_900_999, 2_000_998):
        rate = tae.optimizer.learning_rate * rate_factor(step, tae.run.steps, tae.schedule)
        assert rate == pytest.approx(tae_learning_rate(step + 1), rel=1e-9), step
    (streamer,) = load_recipes(RECIPES / "motionstreamer" / "transformer.toml")
    for step in (0, 1, 5000, 9999, 10_000, 55_000, 99_999):
        rate = streamer.optimizer.learning_rate * rate_factor(step, streamer.run.steps, streamer.schedule)
        assert rate == pytest.approx(streamer_learning_rate(step), rel=1e-9), step


def test_milestones_multiply() -> None:
    schedule = ScheduleConfig(name="milestones", milestones=(10, 20), factor=0.1)
    assert [round(rate_factor(step, 30, schedule), 6) for step in (9, 10, 19, 20)] == [1.0, 0.1, 0.1, 0.01]


SMALL = {
    "emage-vqvae": ["run.steps=2", "task.model.latent_dim=16"],
    "emage-global-motion": ["run.steps=2", "task.model.latent_dim=16"],
    "emage-transformer": ["run.steps=2", "task.model.hidden_dim=32", "run.batch_size=2"],
    "globaldiff-denoiser": ["run.steps=2", "task.model.hidden_dim=32"],
    "globaldiff-speech": ["run.steps=2", "task.model.hidden_dim=32"],
    "diffsheg": ["run.steps=2", "task.model.num_layers=1", "run.batch_size=2"],
    "diffsheg-beat": ["run.steps=2", "task.model.num_layers=1", "run.batch_size=2"],
    "tae": ["run.steps=2", "task.model.hidden_dim=16"],
    "camn": ["run.steps=2", "task.model.hidden_dim=16", "run.batch_size=2"],
    "disco": ["run.steps=2", "task.model.hidden_dim=16", "run.batch_size=2"],
    "streamer": ["run.steps=2", "task.model.num_layers=1"],
    "evaluator": ["run.steps=2", "task.model.encoder.num_layers=1", "run.batch_size=4"],
    "gesture-embedding": ["run.steps=2", "run.batch_size=2"],
    "skeleton-autoencoder": ["run.steps=2", "run.batch_size=2"],
}


@pytest.mark.parametrize("name", SMALL)
def test_every_small_recipe_trains_on_stand_ins(name: str, tmp_path: Path) -> None:
    (recipe,) = load_recipes(RECIPES / "small" / f"{name}.toml", [*SMALL[name], f"run.folder={tmp_path / 'run'}"])
    run = dataclasses.replace(recipe.run, log_every=1)
    run_recipe(dataclasses.replace(recipe, task=recipe.task.rehearsal(tmp_path), run=run))
    losses = [line["loss/total"] for line in read_metrics(tmp_path / "run")]
    assert len(losses) == 2
    assert torch.tensor(losses).isfinite().all()
    assert list((tmp_path / "run" / "model").rglob("model.safetensors"))


def test_the_command_trains_goes_on_and_refuses_another_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = ["task.data.procedural.clips=2", "task.data.procedural.seconds=4", "task.model.hidden_dim=16"]
    changes += ["task.data.held_out=0.5", "run.checkpoint_every=2", "run.log_every=1", "run.validate_every=2"]
    assert main(["train", str(TAE), *changes, "run.steps=2"]) == 0
    assert capsys.readouterr().out.strip() == "runs/small/tae/model"
    assert load_model(CausalTAE, "runs/small/tae/model").config.hidden_dim == 16
    assert list(Path("runs/small/tae/samples/step-00000002").glob("*.html"))
    assert "validation/joint_error" in read_metrics("runs/small/tae")[-1]
    capsys.readouterr()
    assert main(["train", str(TAE), *changes, "run.steps=2", "optimizer.learning_rate=1.0"]) == 2
    assert "holds a training with another optimizer.learning_rate" in capsys.readouterr().err
    assert main(["train", str(TAE), *changes, "run.steps=2", "run.checkpoint_every=1"]) == 0
    assert main(["prepare", str(TAE), *changes]) == 0
    assert "2 windows of 2 takes, 0 files made now" in capsys.readouterr().out
    assert main(["train", str(TAE), "run.stepz=2"]) == 2


def test_a_plan_tells_size_memory_and_time() -> None:
    (recipe,) = load_recipes(TAE, ["task.model.hidden_dim=16", "run.ema_decay=0.9"])
    plan = plan_training(recipe, num_processes=2)
    count = sum(p.numel() for p in CausalTAE(recipe.task.model).parameters())
    assert plan.parameters == count
    assert plan.batch == 16
    assert plan.state_bytes == 4 * count * 5
    assert plan.activation_bytes > 0
    assert plan.step_seconds > 0
    assert f"{count:,}" in str(plan)


def test_run_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"`ema_decay` must lie in \[0, 1\); got 1.0"):
        RunConfig(folder="x", steps=1, batch_size=1, ema_decay=1.0)
    assert json.dumps(dataclasses.asdict(RunConfig(folder="x", steps=1, batch_size=1)))
