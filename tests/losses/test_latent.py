"""Laws of the latent losses."""

from __future__ import annotations

import pytest
import torch

from cospeech.losses import kl_loss, latent_loss


def test_scales_add_up(generator: torch.Generator) -> None:
    a, b = ([torch.randn(2, length, 4, generator=generator) for length in (6, 3)] for _ in range(2))
    parts = [latent_loss([x], [y]) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(latent_loss(a, b), sum(parts))
    assert latent_loss(a, a).item() == 0


def test_scales_must_agree() -> None:
    with pytest.raises(ValueError, match="latents of the same shapes"):
        latent_loss([torch.zeros(1, 2, 3)], [])
    with pytest.raises(ValueError, match="latents of the same shapes"):
        latent_loss([], [])


def test_divergence_equals_that_of_torch(generator: torch.Generator) -> None:
    mean, log_variance = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    ours = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    other = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(kl_loss(mean, log_variance), torch.distributions.kl_divergence(ours, other).mean())


def test_divergence_of_an_untrained_network_is_finite() -> None:
    assert bool(kl_loss(torch.zeros(3), torch.tensor([-1e9, 0.0, 1e9])).isfinite())
