"""The causal autoencoder: every cut gives the whole, the future changes nothing, how far it sees."""

import pytest
import torch

from cospeech.hub import load_model, save_model
from cospeech.hub.convert.motionstreamer import causal_tae_from_published, causal_tae_to_published
from cospeech.models import CausalTAE, CausalTAEConfig


@pytest.fixture(scope="module")
def tae():
    torch.manual_seed(0)
    return CausalTAE(CausalTAEConfig(motion_dim=6, hidden_dim=8, latent_dim=3)).eval()


def cuts(length: int):
    if not length:
        return [[]]
    return [[n, *rest] for n in range(1, length + 1) for rest in cuts(length - n)]


@torch.inference_mode()
def test_every_cut_decodes_to_the_whole(tae):
    latents = torch.randn(2, 6, 3)
    whole = tae.decode(latents)
    for cut in cuts(6):
        state, pieces = tae.decoder.init_state(2), []
        for chunk in latents.split(cut, dim=1):
            frames, state = tae.decoder.step(chunk, state)
            pieces.append(frames)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_every_cut_encodes_to_the_whole(tae):
    motion = torch.randn(2, 24, 6)
    whole = tae.encode(motion)
    for cut in cuts(6):
        state, pieces = tae.encoder.init_state(2), []
        for chunk in motion.split([4 * n for n in cut], dim=1):
            latents, state = tae.encoder.step(chunk, state)
            pieces.append(latents)
        for ours, expected in zip(map(torch.cat, zip(*pieces, strict=True), [1, 1]), whole, strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("frame", [4, 12, 39])
def test_future_leaves_the_past_bit_identical(tae, frame):
    motion = torch.randn(1, 48, 6)
    changed = motion.clone()
    changed[:, frame:] += 1
    first, second = tae.encode(motion), tae.encode(changed)
    assert torch.equal(first.mean[:, : frame // 4], second.mean[:, : frame // 4])
    assert not torch.equal(first.mean[:, frame // 4], second.mean[:, frame // 4])
    latents = torch.randn(1, 12, 3)
    changed = latents.clone()
    changed[:, frame // 4 :] += 1
    assert torch.equal(tae.decode(latents)[:, : frame // 4 * 4], tae.decode(changed)[:, : frame // 4 * 4])


def test_how_far_it_sees():
    """A latent sees 172 frames before its own four, and changes 178 frames, as the reference says."""
    torch.manual_seed(0)
    tae = CausalTAE(CausalTAEConfig(motion_dim=2, hidden_dim=4, latent_dim=2)).double().eval()
    motion = torch.zeros(1, 240, 2, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for parameter in tae.parameters():  # no ReLU is silent, no sum cancels
            parameter.abs_()
    tae.encode(motion + 1).mean[0, 50].sum().backward()
    seen = motion.grad[0].abs().sum(-1).nonzero().flatten()
    assert (seen.min(), seen.max()) == (4 * 50 - 172, 4 * 50 + 3)
    latents = torch.ones(1, 60, 2, dtype=torch.float64)
    changed = latents.clone()
    changed[:, 5] += 1
    moved = (tae.decode(latents) - tae.decode(changed))[0].abs().sum(-1).nonzero().flatten()
    assert (moved.min(), moved.max()) == (4 * 5, 4 * 5 + 177)


@pytest.mark.parametrize("num_frames", [4, 5, 7, 8, 9, 43])
def test_frames_behind_a_multiple_of_four_are_left_out(tae, num_frames):
    motion = torch.randn(1, num_frames, 6)
    latents = tae.encode(motion)
    assert latents.mean.shape == (1, num_frames // 4, 3)
    assert tae(motion, noise=torch.randn(1, num_frames // 4, 3)).motion.shape == (1, num_frames // 4 * 4, 6)


def test_errors(tae):
    with pytest.raises(ValueError, match="4 frames at least; got 3"):
        tae.encode(torch.zeros(1, 3, 6))
    with pytest.raises(ValueError, match="multiple of 4 frames; got 6"):
        tae.encoder.step(torch.zeros(1, 6, 6), tae.encoder.init_state(1))
    with pytest.raises(ValueError, match=r"`latents` must have shape \(B, L, 3\)"):
        tae.decode(torch.zeros(1, 6, 6))
    with pytest.raises(ValueError, match="must lie below"):
        CausalTAEConfig(min_log_variance=3.0, max_log_variance=2.0)
    with pytest.raises(ValueError, match="`num_stages` must lie in"):
        CausalTAEConfig(num_stages=0)


def test_size_of_what_is_remembered():
    config = CausalTAEConfig()
    with torch.device("meta"):
        tae = CausalTAE(config)
    assert sum(p.numel() for p in tae.parameters()) == 76_203_312
    assert sum(state.numel() for state in tae.decoder.init_state(1)) == 63_488
    assert sum(state.numel() for state in tae.encoder.init_state(1)) == 59_936


@pytest.mark.parametrize("config", [{"num_stages": 1}, {"num_stages": 3, "num_residuals": 2}, {}])
def test_published_keys_both_ways(config):
    tae = CausalTAE(CausalTAEConfig(motion_dim=6, hidden_dim=8, latent_dim=3, **config))
    again = causal_tae_from_published(causal_tae_to_published(tae))
    assert again.config == tae.config
    for key, value in tae.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_saves_and_loads(tae, tmp_path):
    save_model(tae, tmp_path)
    motion = torch.randn(1, 12, 6)
    torch.testing.assert_close(load_model(CausalTAE, tmp_path).encode(motion).mean, tae.encode(motion).mean)


def test_end_latent_encodes_the_mean_pose(tae):
    expected = tae.encode(torch.zeros(1, 4, 6)).mean[0, 0]
    torch.testing.assert_close(tae.end_latent(torch.zeros(3)), expected)
