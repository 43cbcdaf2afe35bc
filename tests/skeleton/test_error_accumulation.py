"""The claim on which GlobalDiff stands: equal angular errors cost more in local rotations than in global ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cospeech.data.synthetic import make_clip
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics, forward_kinematics_global, local_to_global


def turned(rotations: Tensor, radians: float, generator: torch.Generator) -> Tensor:
    axes = torch.nn.functional.normalize(torch.randn(*rotations.shape[:-2], 3, generator=generator), dim=-1)
    return rotations @ axis_angle_to_matrix(axes * radians)


@pytest.mark.parametrize("degrees", [1.0, 5.0, 10.0])
def test_errors_accumulate_along_local_rotations(degrees: float, generator: torch.Generator) -> None:
    rotations = torch.cat([make_clip(3.0, speaker=speaker, seed=1).local_rotations for speaker in (1, 3)])
    radians = torch.deg2rad(torch.tensor(degrees)).item()
    truth = forward_kinematics(rotations, SMPLX)
    local = forward_kinematics(turned(rotations, radians, generator), SMPLX)
    world = forward_kinematics_global(turned(local_to_global(rotations, SMPLX), radians, generator), SMPLX)
    local, world = ((x - truth).norm(dim=-1).mean(0) for x in (local, world))

    wrists, tips, feet = (
        [SMPLX.index(f"{side}_{name}") for side in ("left", "right")] for name in ("wrist", "index3", "foot")
    )
    for joints in (wrists, tips, feet):
        assert local[joints].mean() > 1.8 * world[joints].mean()
    # Where it has gone through more joints the excess is larger: finger tips before wrists.
    assert local[tips].mean() / world[tips].mean() > local[wrists].mean() / world[wrists].mean()
    # Nothing turns the first bone below the root but the root itself: there both are the same.
    hips = [SMPLX.index("left_hip"), SMPLX.index("right_hip")]
    torch.testing.assert_close(local[hips].mean(), world[hips].mean(), rtol=0.15, atol=0)
