"""What tasks do to their data."""

import dataclasses
from pathlib import Path

import torch

from cospeech.rotations import rot6d_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics_global, mirror_joints
from cospeech.training import load_recipes

VAE = Path(__file__).parents[2] / "examples/recipes/globaldiff/vae-2.toml"


def windows(folder: Path, **changes):
    """Windows of the VAE's task on stand-ins: as they are, and as ``changes`` have them."""
    (recipe,) = load_recipes(VAE, ["task.model.hidden_dim=16"])
    config = recipe.task.rehearsal(folder)
    found = []
    for settings in ({"flip_probability": 0.0}, {"flip_probability": 1.0, **changes}):
        task = dataclasses.replace(config, **settings).build()
        found.append(task.batch([0], torch.Generator().manual_seed(0)))
    return found


def positions(batch):
    rotations = rot6d_to_matrix(batch.motion[..., :-3].unflatten(-1, (-1, 6)))
    return forward_kinematics_global(rotations, SMPLX, batch.motion[..., -3:], batch.rest_joints[:, None])


def test_flipped_windows_are_mirror_images(tmp_path: Path) -> None:
    plain, flipped = windows(tmp_path, published_flip=False)
    torch.testing.assert_close(positions(flipped), mirror_joints(positions(plain), SMPLX), atol=1e-5, rtol=0)
    assert not torch.allclose(plain.motion, flipped.motion)


def test_the_published_flip_is_the_published_rule(tmp_path: Path) -> None:
    plain, flipped = windows(tmp_path, published_flip=True)
    torch.testing.assert_close(flipped.rest_joints, plain.rest_joints * torch.tensor([-1.0, 1.0, 1.0]))
    spine = SMPLX.index("spine1")
    at = slice(6 * spine, 6 * spine + 6)
    torch.testing.assert_close(flipped.motion[..., at], plain.motion[..., at])  # midline joints are left as they are


def test_the_recipe_of_the_published_training_flips_as_published() -> None:
    (recipe,) = load_recipes(VAE, [])
    assert recipe.task.published_flip
