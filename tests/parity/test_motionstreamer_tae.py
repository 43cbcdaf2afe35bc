"""The causal autoencoder against the published program: codec, streaming, losses."""

import pytest
import torch

from cospeech.hub.convert.motionstreamer import causal_tae_config, causal_tae_from_published, causal_tae_to_published
from cospeech.models import MotionLatents, sample_latents
from cospeech.training import tae_losses

_KEPT = {}  # the weights last filled, by layout and salt: filling takes longer than running


def tae_of(case):
    """The filled network; two cases whose layout and salt agree share it."""
    layout = case.settings.get("layout", case.name)
    same = case.layout("motionstreamer_tae_codec") == case.layout(layout)
    state = _filled(case, "motionstreamer_tae_codec" if same else layout, case.salt)
    return causal_tae_from_published(state), state


def _filled(case, layout, salt):
    if (layout, salt) not in _KEPT:
        _KEPT.clear()
        _KEPT[layout, salt] = case.published_state(layout)
    return _KEPT[layout, salt]


def close(ours, expected, atol=1e-4):
    torch.testing.assert_close(ours, expected, rtol=0, atol=atol)


@pytest.mark.case("motionstreamer_tae_codec")
@torch.inference_mode()
def test_codec(case):
    tae, _ = tae_of(case)
    given, expected = case.inputs, case.outputs
    latents = tae.encode(given["motion"])
    close(latents.mean, expected["mu"])
    close(latents.log_variance, expected["logvar"])
    drawn = sample_latents(latents, given["noise"])
    close(drawn, expected["latent"])
    close(tae(given["motion"], noise=given["noise"]).motion, expected["reconstruction"])
    # Published `encode` hands the latents over transposed and flattened.
    close(drawn.transpose(1, 2).flatten(0, 1), expected["encode_return"])

    odd = tae(given["motion_odd"], noise=given["noise_odd"])
    close(odd.latents.mean, expected["mu_odd"])
    close(odd.latents.log_variance, expected["logvar_odd"])
    close(odd.motion, expected["reconstruction_odd"])
    close(tae.decode(given["latents"]), expected["decoded"])

    zero = tae.encode(torch.zeros(1, tae.config.stride, tae.config.motion_dim))
    close(zero.mean, expected["mu_zero"])
    close(zero.log_variance, expected["logvar_zero"])
    close(tae.end_latent(given["noise_zero"][0, 0]), expected["end_latent"][0])


@pytest.mark.case("motionstreamer_tae_streaming")
@torch.inference_mode()
def test_streaming(case):
    tae, _ = tae_of(case)
    given, expected = case.inputs, case.outputs
    state, pieces = tae.decoder.init_state(len(given["latents"])), []
    for chunk in given["latents"].split(given["decode_chunks"].tolist(), dim=1):
        frames, state = tae.decoder.step(chunk, state)
        pieces.append(frames)
    decoded = torch.cat(pieces, dim=1)
    close(decoded, expected["decoded"])
    close(tae.decode(given["latents"]), expected["decoded"])
    assert (decoded - expected["decoded_without_state"]).square().mean().sqrt() > 0.1

    state, latents = tae.encoder.init_state(len(given["motion"])), []
    for chunk in given["motion"].split(given["encode_chunks"].tolist(), dim=1):
        chunk_latents, state = tae.encoder.step(chunk, state)
        latents.append(chunk_latents)
    close(torch.cat([chunk.mean for chunk in latents], 1), expected["mu"])
    close(torch.cat([chunk.log_variance for chunk in latents], 1), expected["logvar"])


@pytest.mark.case("motionstreamer_tae_codec")
def test_keys_both_ways(case):
    tae, state = tae_of(case)
    config, named = causal_tae_config(state), case.layout(case.settings.get("layout"))["config"]
    assert (config.hidden_dim, config.num_stages) == (named["hidden_size"], named["down_t"])
    assert (config.latent_dim, config.motion_dim) == (named["latent_dim"], named["input_dim"])
    assert (config.num_residuals, config.dilation_growth) == (named["depth"], named["dilation_growth_rate"])
    assert [config.min_log_variance, config.max_log_variance] == named["clip_range"]
    again = causal_tae_to_published(tae)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.case("motionstreamer_tae_losses")
@pytest.mark.parametrize("suffix", ["", "_small"])
def test_losses(case, suffix):
    given, expected = case.inputs, case.outputs
    predicted = given["pred" + suffix].clone().requires_grad_()
    latents = MotionLatents(given["mu"].clone().requires_grad_(), given["logvar"].clone().requires_grad_())
    losses = tae_losses(predicted, given["gt"], latents)
    assert float(case.settings["root_loss"]) == 7.0
    losses.total.backward()
    ours = {
        "recons": losses.reconstruction,
        "kl": losses.kl,
        "root": losses.root,
        "total": losses.total,
        "grad_pred": predicted.grad,
        "grad_mu": latents.mean.grad,
        "grad_logvar": latents.log_variance.grad,
    }
    for name, value in ours.items():
        scale = expected[name + suffix].abs().max().item()
        torch.testing.assert_close(value, expected[name + suffix], rtol=1e-5, atol=1e-5 * scale, msg=name)
