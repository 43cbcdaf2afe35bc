"""CaMN's and DisCo's tasks: labels, balanced batches, exact resume, and a finished model that its pipeline runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cospeech
from cospeech.models import CamnModel, DiscoModel
from cospeech.pipelines import UpperBodyPipeline
from cospeech.training import Clock, OptimizerConfig, RunConfig, camn_losses, content_labels, load_recipes, train
from cospeech.training import camn as camn_page
from cospeech.training.camn import balancing_weights, first_frames, rhythm_labels
from cospeech.training.order import BatchOrder, NumberedBatches, ShardOrder, seeded
from cospeech.training.tasks.camn import CamnTask, DiscoTask

RECIPES = Path(__file__).parents[2] / "examples/recipes/small"
CLASSES = {"camn": CamnModel, "disco": DiscoModel}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("camn")


def settings(folder: Path, system: str, **changes: Any) -> Any:
    """The small recipe's task, smaller, on 20 procedural seconds, two tenths of them held out."""
    overrides = [
        *("task.model.hidden_dim=8", "task.model.audio_dim=8", "task.data.source={procedural={clips=1, seconds=20}}"),
        *("task.data.cut.window_frames=32", f"task.data.prepared={folder / 'windows'}"),
    ]
    (recipe,) = load_recipes(RECIPES / f"{system}.toml", overrides)
    return dataclasses.replace(recipe.task, **changes)


def build(folder: Path, system: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return settings(folder, system, **changes).build()


def test_windows_are_every_second_frame_and_their_speech(folder: Path) -> None:
    task = build(folder, "camn")
    assert task.num_items > 50
    assert task.num_held_out > 4
    batch = task.batch([3, 5], seeded(0))
    assert batch.motion.shape == (2, 16, 258)
    assert batch.waveform.shape == (2, 32 * 533)
    assert batch.speaker.tolist() == [0, 0]


def test_labels_are_made_once_and_are_the_same_again(folder: Path) -> None:
    first = build(folder, "disco")
    (path,) = (folder / "windows" / "disco").glob("labels-4-*.safetensors")
    before = path.stat().st_mtime_ns
    again = build(folder, "disco")
    assert path.stat().st_mtime_ns == before
    path.unlink()
    anew = build(folder, "disco")
    assert path.exists()
    for task in (again, anew):
        assert torch.equal(task.labels, first.labels)
    assert first.labels.shape == (first.num_items + first.num_held_out, 2)
    assert first.batch([first.num_items], seeded(0)).labels.tolist() == [first.labels[first.num_items].tolist()]
    other = build(folder, "disco", num_labels=2)
    assert other.labels.max() == 1
    data = settings(folder, "disco").data
    assert data.fingerprint() in path.name
    assert dataclasses.replace(data, held_out="none").fingerprint() not in path.name


def test_labels_follow_the_windows_that_make_the_clusters() -> None:
    poses = torch.randn(12, 14, 21, 3, generator=seeded(1))
    for label in (content_labels, rhythm_labels):
        some = label(poses[:8], num_clusters=3, generator=seeded(0))
        assert torch.equal(label(poses, num_clusters=3, generator=seeded(0), num_fitted=8)[:8], some)


def test_rests_are_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joint by joint and frame by frame; the first and last five frames hold none."""
    monkeypatch.setattr(camn_page, "_clusters", lambda vectors, *_: vectors)
    poses = torch.randn(2, 30, 21, 3, generator=seeded(2))
    speed = (poses[:, 1:] - poses[:, :-1]).square().sum(-1).sqrt()
    expected = torch.zeros(2, 21, 19)
    for clip in range(2):
        for joint in range(21):
            for frame in range(5, 24):
                nearby = speed[clip, frame - 5 : frame + 6, joint]
                expected[clip, joint, frame - 5] = float(speed[clip, frame, joint] == nearby.min())
    assert torch.equal(rhythm_labels(poses), expected.flatten(1))
    assert expected.any()
    with pytest.raises(ValueError, match="must hold at least 12 frames; got 11"):
        rhythm_labels(poses[:, :11])


def test_draws_are_balanced_over_labels_and_within_them(folder: Path) -> None:
    task = build(folder, "disco")
    order = BatchOrder(task.num_items, 50, 0, weights=task.item_weights)
    drawn = torch.tensor([item for number in range(400) for item in order.items(number)])
    content = task.labels[: task.num_items, 0]
    sizes = content.bincount(minlength=4)
    assert (sizes > 0).all()
    assert sizes.max() > 1.5 * sizes.min(), "nothing to balance"
    torch.testing.assert_close(content[drawn].bincount() / len(drawn), torch.full((4,), 0.25), atol=0.02, rtol=0)
    expected = len(drawn) / 4 / sizes[content]
    assert ((drawn.bincount(minlength=task.num_items) - expected).abs() < 6 * expected.sqrt()).all()


def test_the_balanced_order_is_cut_as_any_other() -> None:
    weights = balancing_weights(torch.tensor([0] * 8 + [1] * 3))
    whole = BatchOrder(11, 6, 5, weights=weights)
    cut = [BatchOrder(11, 2, 5, process, 3, weights) for process in range(3)]
    for number in range(12):
        assert whole.items(number) == [item for order in cut for item in order.items(number)]
    assert whole.items(0) != BatchOrder(11, 6, 6, weights=weights).items(0)
    assert len({tuple(whole.items(number)) for number in range(12)}) > 6


def test_a_batch_follows_from_its_number(folder: Path) -> None:
    batches = []
    for _ in range(2):
        task = build(folder, "disco")
        order = BatchOrder(task.num_items, 4, 3, weights=task.item_weights)
        batches.append(NumberedBatches(task, order)[7])
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))


@pytest.mark.parametrize("system", CLASSES)
def test_a_training_that_broke_off_ends_with_the_same_weights(system: str, folder: Path, tmp_path: Path) -> None:
    rule = OptimizerConfig(learning_rate=1e-3)

    def steps(name: str, *, breaks_at: int = -1) -> dict[str, torch.Tensor]:
        task = build(folder, system)
        losses = task.losses

        def breaking(model: Any, batch: Any, clock: Clock) -> Any:
            if clock.step == breaks_at:
                raise KeyboardInterrupt
            return losses(model, batch, clock)

        task.losses = breaking
        settings = RunConfig(folder=str(tmp_path / name), steps=5, batch_size=3, checkpoint_every=2, validate_every=2)
        train(task, settings, rule)
        return load_file(tmp_path / name / "checkpoints/step-00000005/model.safetensors")

    whole = steps("whole")
    with pytest.raises(KeyboardInterrupt):
        steps("cut", breaks_at=3)
    resumed = steps("cut")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    start = build(folder, system).model.state_dict()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in whole.items() if name in start)


@pytest.mark.parametrize("system", CLASSES)
def test_the_finished_model_runs_in_its_pipeline(system: str, folder: Path, tmp_path: Path) -> None:
    task = build(folder, system)
    settings = RunConfig(folder=str(tmp_path), steps=1, batch_size=2, validate_every=1, sample_clips=1)
    model = train(task, settings)
    assert list(tmp_path.glob("samples/*/000.html"))
    pipeline = cospeech.load_pipeline(tmp_path / "model")
    speech = torch.randn(32000, generator=seeded(4))
    motion = pipeline(speech, source_rate_hz=16000, progress=False)
    assert motion.num_frames == 60
    assert motion.equal(UpperBodyPipeline(model)(speech, source_rate_hz=16000, progress=False))


@torch.no_grad()
@pytest.mark.parametrize("system", CLASSES)
def test_angles_are_measured(system: str, folder: Path) -> None:
    """A network that says the mean pose is as far off as the mean pose is."""
    task = build(folder, system, start_at_mean=True)
    heads = [task.model.body_out, task.model.hands_out] if system == "camn" else [task.model.motion_out]
    for head in heads:
        head.contract.weight.zero_()
    batch = task.batch([task.num_items, task.num_items + 1], seeded(0))
    found = task.measure(task.model.eval(), batch, Clock(0, 1, 0.0, seeded(0)))
    names = ("angle_degrees", "unseeded_angle_degrees", "mean_pose_angle_degrees")
    first, second, third = (float(found[name]) for name in names)
    assert first == pytest.approx(second, rel=1e-5)
    assert first == pytest.approx(third, rel=1e-5)
    assert first == pytest.approx(float(found["rotation"].rad2deg()), rel=0.05)
    assert first > 0.1


@torch.no_grad()
def test_first_frames_are_hidden_where_the_share_says(folder: Path) -> None:
    for share, shown in ((0.0, True), (1.0, False)):
        task = build(folder, "camn", unseeded_share=share)
        model, batch = task.model.eval(), task.batch([0, 1, 2], seeded(0))
        total = task.losses(model, batch, Clock(0, 1, 0.0, seeded(0)))["total"]
        assert total == camn_losses(model, *batch[:3], seeded=shown).total
    some = first_frames(model, batch.motion, torch.tensor([True, False, True]))
    assert torch.equal(some[[0, 2]], batch.motion[[0, 2], :4])
    assert not some[1].any()
    assert first_frames(model, batch.motion, seeded=False) is None
    with pytest.raises(ValueError, match="`seeded` must have shape"):
        first_frames(model, batch.motion, torch.tensor([True]))


def test_speakers_are_counted_where_the_network_has_several(folder: Path) -> None:
    (recipe,) = load_recipes(RECIPES / "camn.toml", ["task.model.num_speakers=2"])
    task = build(folder, "camn", model=dataclasses.replace(recipe.task.model, hidden_dim=8, audio_dim=8))
    assert task._speaker_rows(torch.tensor([1, 2])).tolist() == [0, 1]
    with pytest.raises(ValueError, match="must cover the data's speakers; got 2 for 3"):
        task._speaker_rows(torch.tensor([1, 3]))


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    camn, disco = settings(folder, "camn"), settings(folder, "disco")
    with pytest.raises(ValueError, match="`unseeded_share` must lie in"):
        CamnTask(data=camn.data, unseeded_share=1.5)
    with pytest.raises(ValueError, match="must be 258, of 43 joints; got 78"):
        DiscoTask(data=disco.data, model=dataclasses.replace(disco.model, motion_dim=78))
    with pytest.raises(ValueError, match="`num_labels` must be at least 1; got 0"):
        DiscoTask(data=disco.data, num_labels=0)
    with pytest.raises(ValueError, match=r"`data.stream` must be false"):
        DiscoTask(data=dataclasses.replace(disco.data, stream=True, held_out="none"))
    task = disco.build()
    with pytest.raises(ValueError, match="must be None for shards"):
        NumberedBatches(task, ShardOrder((3, 4), 2, 0))
    with pytest.raises(ValueError, match=r"`item_weights` must have shape \(3,\)"):
        NumberedBatches(task, BatchOrder(3, 2, 0))
