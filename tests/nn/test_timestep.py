from __future__ import annotations

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

from cospeech.nn import timestep_embedding


def test_equals_diffusers():
    timesteps = torch.tensor([0, 1, 40, 999])
    theirs = get_timestep_embedding(timesteps, 64, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(timestep_embedding(timesteps, 64), theirs)
    assert timestep_embedding(timesteps.view(2, 2), 6).shape == (2, 2, 6)


def test_odd_width():
    with pytest.raises(ValueError, match="`dim` must be even; got 3"):
        timestep_embedding(torch.tensor([0]), 3)
