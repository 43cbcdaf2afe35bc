"""Quantizer, VQ-VAEs, global motion network and their composition against the published program."""

from __future__ import annotations

import pytest
import torch

from cospeech.hub.convert.emage_vqvae import (
    global_motion_from_published,
    global_motion_to_published,
    vqvae_from_published,
    vqvae_to_published,
)
from cospeech.losses import code_perplexity, quantizer_loss
from cospeech.models import EmageMotionCodec, EmageParts, split_emage_motion
from cospeech.nn import VectorQuantizer
from cospeech.representations import emage_matrix_to_axis_angle

PARTS = EmageParts._fields


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_same_state(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=0, atol=0, msg=key)


def thinned(frames, stored):
    """The frames of ``(B, T, C)`` that a case stores: every second, fourth, ... as their number tells."""
    return frames[:, :: -(-frames.shape[1] // stored.shape[1])]


def codec_of(case):
    networks = {part: vqvae_from_published(case.published_state(f"emage_vq_{part}")) for part in PARTS}
    global_motion = global_motion_from_published(case.published_state("emage_vae_global"))
    return EmageMotionCodec(**networks, global_motion=global_motion, matrix_to_axis_angle=emage_matrix_to_axis_angle)


def parts_of(tensors, prefix, **others):
    return EmageParts(**{part: tensors[f"{prefix}_{part}"] for part in PARTS if f"{prefix}_{part}" in tensors} | others)


@pytest.mark.case("emage_quantizer")
def test_quantizer(case):
    given, expected = case.inputs, case.outputs
    state, config = case.published_state(), case.layout()["config"]
    (weight,) = state.values()
    assert weight.shape == (config["n_e"], config["e_dim"])
    quantizer = VectorQuantizer(*weight.shape)
    quantizer.load_state_dict({"codebook": weight})
    z = given["z"].clone().requires_grad_()
    quantized = quantizer(z)
    loss = quantizer_loss(z, quantized.codes, commitment=config["beta"])
    assert torch.equal(quantized.indices, expected["index"])
    assert_within(thinned(quantized.latents, expected["z_q"]).detach(), expected["z_q"], 1e-6)
    assert_within(loss.detach(), expected["loss"], 1e-6)
    assert_within(quantizer_loss(z, quantized.codes, commitment=0.25).detach(), expected["loss_beta_0p25"], 1e-6)
    perplexity = code_perplexity(quantized.indices, config["n_e"])
    torch.testing.assert_close(perplexity, expected["perplexity"], rtol=1e-6, atol=0)

    (1000 * loss + (quantized.latents * given["w"]).sum()).backward()
    assert_within(thinned(z.grad, expected["grad_z"]), expected["grad_z"], 1e-5)
    rows = expected["grad_embedding_rows"]
    stride = -(-len(rows) // len(expected["grad_embedding"]))
    assert_within(quantizer.codebook.grad[rows[::stride]], expected["grad_embedding"], 1e-5)
    others = torch.ones(len(weight), dtype=torch.bool).index_fill(0, rows, False)
    assert not quantizer.codebook.grad[others].any()


@pytest.mark.case("emage_vq_face", "emage_vq_upper", "emage_vq_hands", "emage_vq_lower")
@torch.inference_mode()
def test_vqvae(case):
    given, expected = case.inputs, case.outputs
    state, config = case.published_state(), case.layout()["config"]
    vqvae = vqvae_from_published(state)
    assert (vqvae.config.motion_dim, vqvae.config.num_stages) == (config["vae_test_dim"], config["vae_layer"])
    assert (vqvae.config.latent_dim, vqvae.config.num_codes) == (config["vae_length"], config["vae_codebook_size"])
    output = vqvae(given["motion"])
    assert_within(thinned(output.latents, expected["pre_latent"]), expected["pre_latent"], 1e-5)
    assert torch.equal(output.indices, expected["index"])
    assert_within(output.reconstruction, expected["rec"], 1e-5)
    assert_within(vqvae.decode_indices(output.indices), expected["rec"], 1e-5)
    loss = quantizer_loss(output.latents, output.codes, commitment=config["vae_quantizer_lambda"])
    assert_within(loss, expected["embedding_loss"], 1e-5)
    perplexity = code_perplexity(output.indices, config["vae_codebook_size"])
    torch.testing.assert_close(perplexity, expected["perplexity"], rtol=1e-6, atol=1e-5)
    assert_within(vqvae.decode_indices(given["index"]), expected["rec_from_index"], 1e-5)
    assert torch.equal(vqvae.quantizer.nearest(given["latent"]), expected["latent_index"])
    assert_within(vqvae.decode_latents(given["latent"]), expected["rec_from_latent"], 1e-5)
    assert_same_state(vqvae_to_published(vqvae), state)


@pytest.mark.case("emage_vae_global")
@torch.inference_mode()
def test_global_motion(case):
    given, expected = case.inputs, case.outputs
    state = case.published_state()
    network = global_motion_from_published(state)
    motion = network(given["lower"])
    assert_within(motion, expected["rec"], 1e-5)
    assert_within(network.integrate(motion, given["ref_trans"]).translation, expected["trans"], 1e-5)
    batched = network.integrate(motion, given["ref_trans_batched"][:, 0])
    assert_within(batched.translation, expected["trans_batched"], 1e-5)
    assert_same_state(global_motion_to_published(network), state)


@pytest.mark.case("emage_vq_compose")
@torch.inference_mode()
def test_compose(case):
    given, expected = case.inputs, case.outputs
    codec = codec_of(case)
    parts = split_emage_motion(given["rot6d"], given["expression"], given["trans"], given["contact"])
    zeroed = split_emage_motion(given["rot6d"], given["expression"])
    for name, split in (("map_index", parts), ("map_index_zero", zeroed)):
        for part, indices in zip(PARTS, codec.encode(split), strict=True):
            assert torch.equal(indices, expected[f"{name}_{part}"]), (name, part)
    wanted = expected["map_latent_zero_lower"]
    assert_within(thinned(codec.encode_codes(zeroed).lower, wanted), wanted, 1e-5)

    indices, latents = parts_of(given, "index"), parts_of(given, "latent")
    alone = {
        "index": indices,
        "latent": latents,
        "upper_hands_only": EmageParts(upper=indices.upper, hands=latents.hands),
        "face_lower_only": EmageParts(face=indices.face, lower=latents.lower),
    }
    for name, codes in alone.items():
        decoded = codec.decode(codes)
        wanted = {key.removeprefix(name + "."): value for key, value in expected.items() if key.startswith(name + ".")}
        rows = len(wanted["axis_angle"])
        assert_within(thinned(decoded.expressions[:rows], wanted["expression"]), wanted["expression"], 1e-5)
        assert_rotations_within(decoded.axis_angle[:rows].flatten(-2), wanted["axis_angle"], 1e-3, share=0.99)
        features = thinned(decoded.features[:rows], wanted["motion337"])
        assert_rotations_within(features[..., :-7], wanted["motion337"][..., :-7], 1e-3, share=0.99)
        assert_within(features[..., -7:], wanted["motion337"][..., -7:], 1e-5)
        if "trans" in wanted:
            translated = codec.translate(decoded, given["ref_trans"])
            assert_within(translated.translation[:rows], wanted["trans"], 1e-5)


def assert_rotations_within(actual, expected, tolerance, share):
    assert_within(actual, expected, tolerance)
    assert ((actual - expected).abs() <= tolerance / 100).float().mean() >= share
