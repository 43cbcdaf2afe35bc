"""Training of autoencoder and transformer at a small size: what is replaced, what carries loss, that it learns."""

import numpy as np
import pytest
import torch

from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.representations import FeatureStats
from cospeech.training import (
    cache_latents,
    draw_two_forward,
    drop_texts,
    encode_latents,
    replaced_fraction,
    tae_step_losses,
    two_forward_loss,
)

SMALL = MotionStreamerConfig(
    text_dim=6, latent_dim=4, dim=16, num_layers=1, num_heads=2, feedforward_dim=24, head_dim=16, head_layers=1
)


def setup(seed=0):
    torch.manual_seed(seed)
    model, generator = MotionStreamer(SMALL), torch.Generator().manual_seed(seed)
    for linear in (*model.head.modulations, model.head.latent_out):
        torch.nn.init.normal_(linear.weight, std=0.1)
    return model, torch.randn(3, 6), torch.randn(3, 8, 4), torch.tensor([8, 5, 3]), generator


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_history_is_kept_and_the_share_replaced(fraction):
    model, text, latents, lengths, generator = setup()
    history = torch.tensor([3, 0, 1])
    draws = draw_two_forward(model, latents, lengths, generator, history=history)
    mixed = two_forward_loss(model, text, latents, lengths, draws, fraction=fraction, history=history).latents
    changed = (mixed != latents).any(-1)
    assert not changed[0, :3].any()
    assert not changed[2, :1].any()
    assert changed[1].sum() == int(8 * fraction)


def test_padding_carries_no_loss():
    model, text, latents, lengths, generator = setup()
    draws = draw_two_forward(model, latents, lengths, generator)
    loss = two_forward_loss(model, text, latents, lengths, draws, fraction=0.0).loss
    other = latents.clone()
    other[1, 5:], other[2, 3:] = 9.0, -9.0
    torch.testing.assert_close(two_forward_loss(model, text, other, lengths, draws, fraction=0.0).loss, loss)


def test_draws_are_reproducible_and_checked():
    model, text, latents, lengths, _ = setup()
    first, second = (draw_two_forward(model, latents, lengths, torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(ValueError, match=r"`draws.timesteps` must have shape \(52\); got \(64,\)"):
        two_forward_loss(model, text, latents, torch.tensor([8, 4, 1]), first, fraction=0.5)


def test_gradients_reach_all_weights():
    model, text, latents, lengths, generator = setup()
    draws = draw_two_forward(model, latents, lengths, generator)
    two_forward_loss(model, text, latents, lengths, draws, fraction=0.5).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_transformer_learns():
    model, text, latents, lengths, generator = setup()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        draws = draw_two_forward(model, latents, lengths, generator)
        loss = two_forward_loss(model, text, latents, lengths, draws, fraction=replaced_fraction(step, 60)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_autoencoder_learns():
    torch.manual_seed(0)
    tae = CausalTAE(CausalTAEConfig(motion_dim=10, hidden_dim=16, latent_dim=4, num_residuals=1))
    motion = torch.sin(torch.arange(64.0)[:, None] * torch.linspace(0.1, 0.4, 10)).expand(4, 64, 10)
    optimizer = torch.optim.AdamW(tae.parameters(), lr=1e-3)
    first = last = 0.0
    for step in range(40):
        losses = tae_step_losses(tae, motion, torch.randn(4, 16, 4))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        first, last = (losses.total.item() if step == 0 else first), losses.total.item()
    assert last < first - 500


def test_latents_for_the_second_stage():
    tae = CausalTAE(CausalTAEConfig(motion_dim=10, hidden_dim=16, latent_dim=4)).eval()
    motion, end = torch.randn(21, 10), torch.randn(4)
    latents = encode_latents(tae, motion, torch.zeros(5, 4), end)
    assert latents.shape == (6, 4)
    torch.testing.assert_close(latents[:5], tae.encode(motion[None]).mean[0])
    assert torch.equal(latents[5], end)


def test_a_tenth_of_the_texts_is_dropped():
    text = drop_texts(torch.randn(25, 6), torch.zeros(6), torch.Generator().manual_seed(0))
    assert (text == 0).all(-1).sum() == 2


def test_latents_are_cached_once(tmp_path):
    torch.manual_seed(0)
    tae = CausalTAE(CausalTAEConfig(motion_dim=10, hidden_dim=16, latent_dim=4)).eval()
    stats = FeatureStats(torch.zeros(10), torch.ones(10))
    clips = [("a", torch.randn(50, 10)), ("short", torch.randn(39, 10)), ("b", torch.randn(40, 10))]

    def run(folder):
        generator = torch.Generator().manual_seed(3)
        return cache_latents(tae, clips, folder, stats=stats, end_latent=torch.ones(4), generator=generator)

    assert run(tmp_path / "whole") == ["a", "b"]
    whole = np.load(tmp_path / "whole/b.npy")
    assert whole.shape == (11, 4)
    assert whole.dtype == np.float32
    assert (whole[-1] == 1).all()
    (tmp_path / "whole/b.npy").unlink()
    kept = (tmp_path / "whole/a.npy").stat().st_mtime_ns
    run(tmp_path / "whole")
    assert (tmp_path / "whole/a.npy").stat().st_mtime_ns == kept
    assert (np.load(tmp_path / "whole/b.npy") == whole).all()
