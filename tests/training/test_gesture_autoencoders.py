"""The trainings of the autoencoders behind the Fréchet gesture distances: losses, and that the result can be used."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from cospeech.cli import main
from cospeech.data.sources import ProceduralSource
from cospeech.evaluation import evaluate_folders
from cospeech.hub import load_model, load_tensors
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published
from cospeech.hub.convert.networks import to_published
from cospeech.models import GestureAutoencoder, GestureAutoencoderConfig, SkeletonAutoencoder
from cospeech.motion import Motion
from cospeech.rotations import rot6d_to_matrix
from cospeech.training import (
    Clock,
    gesture_autoencoder_losses,
    load_recipes,
    make_optimizer,
    skeleton_autoencoder_losses,
)
from cospeech.training.tasks.windows import SourceChoice

RECIPES = Path(__file__).parents[2] / "examples/recipes"
CLOCK = Clock(0, 10, 0.0, torch.Generator())


def on_procedural(name, folder, changes=(), seconds=12.0):
    """A small recipe's task on two procedural clips."""
    (recipe,) = load_recipes(RECIPES / "small" / f"{name}.toml", changes)
    source = dataclasses.replace(
        recipe.task.data.source, files=None, procedural=ProceduralSource(clips=2, seconds=seconds)
    )
    assert isinstance(source, SourceChoice)
    data = dataclasses.replace(recipe.task.data, prepared=str(folder / name), source=source)
    torch.manual_seed(0)
    return dataclasses.replace(recipe.task, data=data), recipe


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory):
    config, _ = on_procedural("skeleton-autoencoder", tmp_path_factory.mktemp("skeleton"))
    return config.build()


def test_the_skeletons_loss_is_that_of_a_slow_twin(skeleton):
    rot6d = skeleton.batch([0, 5], torch.Generator())
    model = skeleton.model.eval()
    with torch.no_grad():
        found = skeleton_autoencoder_losses(model, rot6d)
        said, true = (rot6d_to_matrix(x.reshape(2, 64, 55, 6)).double() for x in (model(rot6d), rot6d))
    angle, velocity, acceleration = [], [], []
    for clip in range(2):
        error = said[clip] - true[clip]
        for frame in range(64):
            for joint in range(55):
                turn = said[clip, frame, joint] @ true[clip, frame, joint].T
                cosine = (turn.trace() - 1) / 2
                angle.append(math.acos(min(max(cosine, -1 + 1e-6), 1 - 1e-6)))
        velocity += [float((error[t + 1] - error[t]).abs().mean()) for t in range(63)]
        acceleration += [float((error[t + 2] - 2 * error[t + 1] + error[t]).abs().mean()) for t in range(62)]
    assert float(found.motion) == pytest.approx(10 * sum(angle) / len(angle), rel=1e-3)
    assert float(found.velocity) == pytest.approx(sum(velocity) / len(velocity), rel=1e-3)
    assert float(found.acceleration) == pytest.approx(sum(acceleration) / len(acceleration), rel=1e-3)
    assert float(found.total) == pytest.approx(float(found.motion + found.velocity + found.acceleration))


def test_it_begins_near_the_mean_pose_and_steps_lower_the_loss(tmp_path):
    config, recipe = on_procedural("skeleton-autoencoder", tmp_path)
    task = config.build()
    held = task.batch(range(task.num_items, task.num_items + task.num_held_out), torch.Generator())
    batch = task.batch(range(0, task.num_items, 9), torch.Generator())
    optimizer = make_optimizer(task.model.parameters(), dataclasses.replace(recipe.optimizer, learning_rate=1e-3))
    losses = []
    for step in range(10):
        loss = task.losses(task.model.train(), batch, CLOCK)["total"]
        loss.backward()
        if step == 0:
            gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
            assert all(x.isfinite().all() for x in gradients)
            # Two layers of the published network are not used by it.
            assert len(gradients) == len(list(task.model.parameters())) - 4
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        found = task.measure(task.model.eval(), held, CLOCK)
    assert found["error_degrees"] < found["mean_pose_degrees"] + 5
    assert task.sample(0, torch.Generator()).num_frames == 64


def test_the_mean_pose_is_measured_as_a_pose(skeleton):
    """A window of the mean pose is no degree away from it."""
    still = skeleton.mean_pose.expand(1, 64, -1)
    with torch.no_grad():
        found = skeleton.measure(skeleton.model.eval(), still, CLOCK)
    assert found["mean_pose_degrees"] < 1e-3


def test_a_trained_extractor_measures_folders(skeleton, tmp_path):
    """Without the published weights a distance can be had: the run's ``model`` folder is an extractor."""
    skeleton.save(tmp_path / "model")
    network = load_model(SkeletonAutoencoder, tmp_path / "model")
    window = skeleton.batch([0], torch.Generator())
    torch.testing.assert_close(network.encode(window), skeleton.model.eval().encode(window))
    # Its keys are the published ones, decoder included.
    state, wrapper = to_published(tmp_path / "model")
    assert wrapper == "model_state"
    assert {"decoder.main.0.model.0.weight", "decoder.main.14.bias", "fc_logvar.bias"} <= state.keys()
    again = skeleton_autoencoder_from_published(state)
    torch.testing.assert_close(again(window), skeleton.model(window))

    generator = torch.Generator().manual_seed(0)
    for name in ("recorded", "generated"):
        (tmp_path / name).mkdir()
    for clip in range(3):
        turns = 0.3 * torch.randn(128, 55, 3, generator=generator).cumsum(0) / 10
        for name, noise in (("recorded", 0.0), ("generated", 0.05)):
            noisy = turns + noise * torch.randn(turns.shape, generator=generator)
            Motion(local_axis_angle=noisy, translation=torch.zeros(128, 3), rate_hz=30).save(
                tmp_path / name / f"{clip}.npz"
            )
    found = {
        name: evaluate_folders(tmp_path / name, tmp_path / "recorded", extractor=tmp_path / "model", num_resamples=0)[
            "fgd"
        ].value
        for name in ("recorded", "generated")
    }
    assert abs(found["recorded"]) < 1e-4 < found["generated"]


@pytest.mark.parametrize("name", ["skeleton-autoencoder", "gesture-embedding", "evaluator"])
def test_a_dry_run_needs_no_data(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["task.model.encoder.num_layers=1"] if name == "evaluator" else []
    assert main(["train", str(RECIPES / "small" / f"{name}.toml"), *small, "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_windows_that_do_not_fit_are_refused():
    recipe = RECIPES / "evaluators" / "skeleton-autoencoder.toml"
    with pytest.raises(ValueError, match="must be a multiple of 16; got 60"):
        load_recipes(recipe, ["task.data.cut.window_frames=60"])


def test_the_published_recipe_is_the_published_training():
    (recipe,) = load_recipes(RECIPES / "evaluators" / "skeleton-autoencoder.toml")
    optimizer, cut = recipe.optimizer, recipe.task.data.cut
    assert (optimizer.name, optimizer.learning_rate, optimizer.betas) == ("adam", 1e-4, (0.5, 0.999))
    assert (recipe.run.batch_size, cut.window_frames, cut.stride_frames) == (32, 64, 20)
    assert recipe.task.data.source.beat2.speakers == ()
    assert recipe.task.model.edge_channels == (6, 6, 6, 12, 12)


def test_the_gestures_loss_is_that_of_a_slow_twin():
    torch.manual_seed(0)
    model = GestureAutoencoder(GestureAutoencoderConfig(num_frames=34, motion_dim=6)).eval()
    windows = torch.randn(2, 34, 6)
    with torch.no_grad():
        found, error = gesture_autoencoder_losses(model, windows), model(windows) - windows
    steps = [float((error[:, t + 1] - error[:, t]).abs().mean()) for t in range(33)]
    assert float(found.motion) == pytest.approx(float(error.abs().mean()), rel=1e-5)
    assert float(found.velocity) == pytest.approx(sum(steps) / 33, rel=1e-5)
    assert float(found.acceleration) == 0


@pytest.mark.parametrize(("width", "part"), [(192, slice(None)), (141, slice(0, 141)), (51, slice(141, None))])
def test_the_width_says_which_channels(width, part, tmp_path):
    config, _ = on_procedural("gesture-embedding", tmp_path)
    whole, _ = on_procedural("gesture-embedding", tmp_path, ["task.model.motion_dim=192"])
    task = dataclasses.replace(config, model=dataclasses.replace(config.model, motion_dim=width)).build()
    batch = task.batch([0, 3], torch.Generator())
    assert batch.shape == (2, 34, width)
    assert torch.equal(batch, whole.build().batch([0, 3], torch.Generator())[..., part])
    told = task.measure(task.model.eval(), batch, CLOCK)
    assert ("error_degrees" in told) == (width != 51)


def test_steps_bring_gestures_nearer(tmp_path):
    """From torch's own start a few dozen steps beat the mean pose on what they learn from, gradients being finite."""
    config, recipe = on_procedural("gesture-embedding", tmp_path)
    task = config.build()
    optimizer = make_optimizer(task.model.parameters(), dataclasses.replace(recipe.optimizer, learning_rate=1e-3))
    batch = task.batch(range(0, task.num_items, 8), torch.Generator())
    for step in range(12):
        loss = task.losses(task.model.train(), batch, CLOCK)["total"]
        loss.backward()
        if step == 0:
            unused = {id(p) for p in task.model.log_variance.parameters()}
            assert all((p.grad is None) == (id(p) in unused) for p in task.model.parameters())
            assert all(p.grad.isfinite().all() for p in task.model.parameters() if p.grad is not None)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        found = task.measure(task.model.train(), batch, CLOCK)
    assert found["error_degrees"] < found["mean_pose_degrees"]


def test_a_trained_gesture_autoencoder_measures_folders(tmp_path):
    """For SHOW: network and statistics of the run's ``model`` folder are what the protocol asks for."""
    recipe = RECIPES / "evaluators" / "gesture-embedding-show.toml"
    (show,) = load_recipes(recipe, ["task.model.motion_dim=129"])
    task = show.task.rehearsal(tmp_path).build()
    task.save(tmp_path / "model")
    network, statistics = tmp_path / "model", tmp_path / "model" / "statistics.safetensors"
    assert load_model(GestureAutoencoder, network).config.motion_dim == 129
    assert load_tensors(statistics).keys() == {"motion_mean", "motion_std"}
    generator = torch.Generator().manual_seed(0)
    for name in ("recorded", "generated"):
        (tmp_path / name).mkdir()
    for clip in range(2):
        turns = torch.randn(120, 55, 3, generator=generator).cumsum(0) / 30
        for name, noise in (("recorded", 0.0), ("generated", 0.05)):
            noisy = turns + noise * torch.randn(turns.shape, generator=generator)
            expressions = torch.zeros(120, 100)
            motion = Motion(
                local_axis_angle=noisy, translation=torch.zeros(120, 3), expressions=expressions, rate_hz=30
            )
            motion.save(tmp_path / name / f"{clip}.npz")
    found = evaluate_folders(
        tmp_path / "generated",
        tmp_path / "recorded",
        protocol="diffsheg_show",
        extractor=network,
        statistics=statistics,
        num_resamples=0,
    )
    assert found["fgd"].value > 0


def test_embeddings_that_do_not_fit_are_refused():
    recipe = RECIPES / "small" / "gesture-embedding.toml"
    with pytest.raises(ValueError, match="must be one of 192, 141, 51, 232, 129, 103; got 40"):
        load_recipes(recipe, ["task.model.motion_dim=40"])
    with pytest.raises(ValueError, match=r"must be data.cut.window_frames, 34; got 36"):
        load_recipes(recipe, ["task.model.num_frames=36"])


def test_statistics_are_named_as_an_evaluation_asks_for_them(tmp_path):
    config, _ = on_procedural("gesture-embedding", tmp_path)
    task = config.build()
    task.save(tmp_path / "model")
    kept = load_tensors(tmp_path / "model" / "statistics.safetensors")
    assert [len(kept[f"{name}_mean"]) for name in ("axis_angle", "face", "motion")] == [141, 51, 192]
    # What was saved normalises another training as this one.
    again = dataclasses.replace(config, statistics=str(tmp_path / "model" / "statistics.safetensors")).build()
    assert torch.equal(again.batch([1], torch.Generator()), task.batch([1], torch.Generator()))
