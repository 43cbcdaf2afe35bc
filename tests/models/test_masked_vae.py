"""Laws of the masked VAE."""

from __future__ import annotations

import pytest
import torch

from cospeech.models import MaskedVAE, MaskedVAEConfig, sample_latents


def small(**changes: object) -> MaskedVAE:
    sizes = {"motion_dim": 9, "hidden_dim": 16, "latent_dim": 4, "num_layers": 1, "num_heads": 2, "feedforward_dim": 8}
    return MaskedVAE(MaskedVAEConfig(**(sizes | changes))).eval()


@pytest.mark.parametrize(("blocks", "stride"), [((3,), 2), ((2, 2), 4), ((1, 1, 1), 8)])
def test_rates(blocks: tuple[int, ...], stride: int) -> None:
    vae, motion = small(stage_blocks=blocks), torch.randn(2, 24, 9)
    latents = vae.encode(motion)
    assert vae.config.stride == stride
    assert latents.mean.shape == latents.log_variance.shape == (2, 24 // stride, 4)
    assert vae.decode(latents.mean).shape == motion.shape


def test_frames_beyond_the_stride_are_left_out() -> None:
    assert small().encode(torch.randn(1, 61, 9)).mean.shape[1] == 15


def test_hidden_frames_are_not_seen() -> None:
    vae, motion = small(), torch.randn(2, 20, 9)
    mask = torch.zeros(2, 20, dtype=torch.bool)
    mask[:, 5:9] = True
    changed = torch.where(mask[..., None], torch.randn(2, 20, 9), motion)
    torch.testing.assert_close(vae(changed, mask).motion, vae(motion, mask).motion)
    assert not torch.allclose(vae(changed).motion, vae(motion).motion)


def test_no_noise_is_the_mean() -> None:
    vae, motion = small(), torch.randn(1, 8, 9)
    latents = vae.encode(motion)
    noise = torch.zeros_like(latents.mean)
    assert torch.equal(sample_latents(latents, noise), latents.mean)
    torch.testing.assert_close(vae(motion, noise=noise).motion, vae(motion).motion)


def test_sampling_has_the_spread_that_the_latents_say(generator: torch.Generator) -> None:
    latents = small().encode(torch.randn(1, 8, 9))
    draws = torch.stack([sample_latents(latents, torch.randn(1, 2, 4, generator=generator)) for _ in range(2000)])
    torch.testing.assert_close(draws.std(0), torch.exp(latents.log_variance / 2), rtol=0.1, atol=0)


def test_errors_say_what_must_hold() -> None:
    vae = small()
    with pytest.raises(ValueError, match="must hold 4 frames at least; got 3"):
        vae.encode(torch.zeros(1, 3, 9))
    with pytest.raises(ValueError, match=r"`mask` must have shape \(1, 8\)"):
        vae.encode(torch.zeros(1, 8, 9), torch.zeros(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="`stage_blocks`"):
        MaskedVAEConfig(stage_blocks=())
    with pytest.raises(ValueError, match="`latent_dim` must be at least 1"):
        MaskedVAEConfig(latent_dim=0)
