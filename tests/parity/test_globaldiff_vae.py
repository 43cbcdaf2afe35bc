"""The masked VAEs against the published classes."""

from __future__ import annotations

import pytest
import torch

from cospeech.hub.convert.globaldiff_vae import (
    masked_vae_config,
    masked_vae_from_published,
    masked_vae_to_published,
)
from cospeech.models import MaskedVAE, sample_latents
from cospeech.nn import inverse_frequencies


def published(case):
    keep = {}
    for key, shape, _, status in case.layout()["keys"]:
        if status == "keep":
            counter = key.endswith("num_batches_tracked")
            keep[key] = torch.zeros((), dtype=torch.int64) if counter else inverse_frequencies(2 * shape[0])
    return case.published_state(keep=keep)


def vae_of(case) -> tuple[MaskedVAE, dict]:
    state = published(case)
    return masked_vae_from_published(state), state


@pytest.mark.case("globaldiff_vae2", "globaldiff_vae3")
@torch.inference_mode()
def test_masked_vae(case):
    vae, _ = vae_of(case)
    given, expected = case.inputs, case.outputs
    motion, mask = given["motion"], given["mask"].bool()
    torch.testing.assert_close(torch.cat(vae.encode(motion), -1), expected["encode"], rtol=0, atol=3e-5)

    masked = vae(motion, mask, noise=given["eps"])
    torch.testing.assert_close(masked.latents.mean, expected["masked_mu"], rtol=0, atol=3e-5)
    torch.testing.assert_close(masked.latents.log_variance, expected["masked_logvar"], rtol=0, atol=3e-5)
    torch.testing.assert_close(masked.motion, expected["masked_rec"], rtol=0, atol=1e-4)
    sampled = vae.decode(sample_latents(masked.latents, given["eps"]))
    torch.testing.assert_close(sampled, masked.motion, rtol=0, atol=1e-5)

    first = expected["rec_no_mask"].shape[0]
    torch.testing.assert_close(vae(motion[:first]).motion, expected["rec_no_mask"], rtol=0, atol=1e-4)


@pytest.mark.case("globaldiff_vae2", "globaldiff_vae3")
def test_keys_both_ways_and_sizes(case):
    vae, state = vae_of(case)
    back = masked_vae_to_published(vae)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    config, named = masked_vae_config(state), case.layout()["config"]
    assert (config.motion_dim, config.hidden_dim) == (named["in_channels"], named["hidden_size"])
    assert (config.latent_dim, config.stride) == (named["latent_dim"], named["stride"])
