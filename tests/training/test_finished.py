"""What a finished training leaves is a pipeline that runs, of every system."""

from pathlib import Path

import pytest
import torch

import cospeech
from cospeech.hub import load_model
from cospeech.models import GlobalDiffDenoiser
from cospeech.pipelines import MotionStreamerPipeline
from cospeech.training import load_recipes
from cospeech.training.order import seeded

RECIPES = Path(__file__).parents[2] / "examples" / "recipes"
SPEAKING = {  # recipe, and what makes it small
    "emage/transformer": [
        *("task.model.hidden_dim=32", "task.model.audio_dim=16", "task.model.code_dim=16"),
        "task.model.num_part_layers=1",
    ],
    "small/camn": ["task.model.hidden_dim=16"],
    "small/disco": ["task.model.hidden_dim=16"],
    "small/diffsheg": ["task.model.num_layers=1", "task.data.cut.window_frames=24"],
    "small/diffsheg-beat": ["task.model.num_layers=1"],
    "small/globaldiff-denoiser": ["task.model.hidden_dim=32", "task.speech_model=there"],
}


def task_of(name: str, changes: list[str], folder: Path):
    """The recipe's task on stand-ins, one window of them held out."""
    (recipe,) = load_recipes(RECIPES / f"{name}.toml", changes)
    task = recipe.task.rehearsal(folder).build()
    task.num_items, task.num_held_out = task.num_items - 1, 1
    return task


@pytest.mark.parametrize("name", SPEAKING)
def test_a_trained_model_speaks_by_load_pipeline_and_can_be_shown(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = task_of(name, SPEAKING[name], tmp_path)
    shown, again = (task.sample(0, seeded(1)) for _ in range(2))
    assert shown.num_frames > 20
    assert torch.equal(shown.local_axis_angle, again.local_axis_angle)
    task.save(tmp_path / "model")
    pipeline = cospeech.load_pipeline(tmp_path / "model")
    motion = pipeline(torch.randn(16_000) / 10, source_rate_hz=16_000, progress=False)
    assert motion.num_frames == round(pipeline.rate_hz)
    assert bool(motion.local_axis_angle.isfinite().all())


def test_a_trained_model_of_text_moves_by_load_pipeline(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = task_of("small/streamer", ["task.model.num_layers=1", "task.model.head_layers=1"], tmp_path)
    task.save(tmp_path / "model")
    pipeline = MotionStreamerPipeline.from_pretrained(tmp_path / "model")
    caption = task.items[-1].text
    motion = pipeline(task.texts[caption], seconds=1.0)
    assert motion.num_frames == 32  # whole latents of four frames
    assert task.sample(0, seeded(1)).num_frames == 4 * len(task.items[-1].latents)


def test_a_denoiser_without_speech_model_is_kept_alone(tmp_path: Path) -> None:
    task = task_of("small/globaldiff-denoiser", ["task.model.hidden_dim=32"], tmp_path)
    task.save(tmp_path / "model")
    assert load_model(GlobalDiffDenoiser, tmp_path / "model").config.hidden_dim == 32


def test_speakers_begin_with_a_pose_of_theirs(tmp_path: Path) -> None:
    task = task_of("small/globaldiff-denoiser", SPEAKING["small/globaldiff-denoiser"], tmp_path)
    task.save(tmp_path / "model")
    poses = cospeech.load_pipeline(tmp_path / "model").rest_poses
    windows = task.batch(range(task.num_items + 1), torch.Generator()).motion[:, : poses.shape[1]]
    for pose in poses:
        assert bool((windows == pose).all(-1).all(-1).any())
