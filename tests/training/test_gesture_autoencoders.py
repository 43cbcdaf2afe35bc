"""The trainings of the autoencoders behind the Fréchet gesture distances: losses, and that the result can be used."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from cospeech.data.sources import ProceduralSource
from cospeech.evaluation import evaluate_folders
from cospeech.hub import load_model
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published
from cospeech.hub.convert.networks import to_published
from cospeech.models import SkeletonAutoencoder
from cospeech.motion import Motion
from cospeech.rotations import rot6d_to_matrix
from cospeech.training import Clock, load_recipes, make_optimizer, skeleton_autoencoder_losses
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
