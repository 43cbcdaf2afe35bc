from __future__ import annotations

import diffusers
import pytest
import torch

from cospeech.schedulers import cosine_betas, linear_betas, scaled_linear_betas


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (linear_betas(1000), "linear"),
        (scaled_linear_betas(1000, start=1e-4, end=0.02), "scaled_linear"),
        (cosine_betas(1000), "squaredcos_cap_v2"),
    ],
)
def test_equal_those_of_diffusers(ours, name):
    theirs = diffusers.DDPMScheduler(1000, beta_schedule=name).betas
    torch.testing.assert_close(torch.tensor(ours), theirs, rtol=1e-5, atol=1e-9)


def test_single_level():
    assert linear_betas(1) == (0.02,)
    assert len(cosine_betas(1)) == 1


@pytest.mark.parametrize("make", [linear_betas, scaled_linear_betas, cosine_betas])
def test_no_levels_is_an_error(make):
    with pytest.raises(ValueError, match="`num_timesteps` must be at least 1; got 0"):
        make(0)
