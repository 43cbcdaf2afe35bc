"""UniEG whole, one of its layers, and its audio encoder against the published program, prepared and not."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F

from cospeech.errors import CheckpointError
from cospeech.hub.convert._table import KeyTable
from cospeech.hub.convert.diffsheg import (
    STYLIZED_LAYER,
    diffsheg_config,
    diffsheg_from_published,
    diffsheg_to_published,
    fusion_layer_table,
    join_projections,
)
from cospeech.models import DiffSHEGConfig
from cospeech.models.diffsheg import diffsheg_positions
from cospeech.models.diffsheg_branch import FusionLayer
from cospeech.models.diffsheg_layers import StylizedLayer, moments


def published(case, layout=None):
    """The filled state, the layout's configuration with it."""
    form = case.layout(layout)
    keep = {}
    for key, shape, _, status in form["keys"]:
        if status == "keep":
            table = diffsheg_positions(shape[2]) if key.endswith("PE.pe") else None
            keep[key] = torch.tensor(0) if table is None else torch.cat([table, table])[None]
    return case.published_state(layout, keep=keep), form["config"]


@lru_cache(maxsize=2)  # 0.6 GB each, and seconds to fill
def denoiser_of(case):
    state, named = published(case)
    config = diffsheg_config(state, num_heads=named["num_heads"], num_timesteps=named["diffusion_steps"])
    assert (config.gesture_dim, config.expression_dim) == (named["split_pos"], named["expression_dim"])
    assert (config.num_layers, config.hidden_dim) == (named["num_layers"], named["latent_dim"])
    assert config.unconditional == named["classifier_free"]
    return diffsheg_from_published(state, config)


def assert_near(actual, expected, tolerance=1e-5):
    """Within a share of the expected values' spread."""
    error = (actual - expected).abs().max() / expected.std(correction=0)
    assert error < tolerance, f"{error:.2e} of the spread"


def inputs_of(case):
    """Inputs in float32 (some are stored in half precision), the speaker as a number."""
    given = {key: value.float() if value.dtype == torch.float16 else value for key, value in case.inputs.items()}
    if "person_onehot" in given:
        given["speaker"] = given["person_onehot"].argmax(-1)
    return given


@pytest.mark.case("diffsheg_beat_forward", "diffsheg_show_forward")
@torch.inference_mode()
def test_denoiser(case):
    denoiser, given, expected = denoiser_of(case), inputs_of(case), case.outputs
    scale = float(case.settings["cond_scale"])
    expression, num_rows = denoiser.branches["expression"], len(given["x"])
    taken = {}

    def keep(name):
        return lambda module, args, output: taken.__setitem__(name, output)

    handles = [
        expression.speech_encoder.register_forward_hook(keep("exp_hubert")),
        expression.time_embedding.register_forward_hook(keep("exp_time_embed")),
        expression.register_forward_hook(keep("expression")),
        *(layer.register_forward_hook(keep(f"exp_layer{i}")) for i, layer in enumerate(expression.layers)),
    ]
    arguments = (given["x"], given["timestep"], given["mel"], given["hubert"], given["speaker"])
    noise = denoiser(*arguments, guidance_scale=scale)
    for handle in handles:
        handle.remove()
    assert_near(noise, expected["eps"])
    if "eps_cond_scale_1" in expected:
        assert_near(denoiser(*arguments), expected["eps_cond_scale_1"])

    of_noisy, of_noise = given["sqrt_recip_alphas_cumprod"][..., None, None]
    motion = given["x"][..., denoiser.config.channels("expression")]
    assert_near(of_noisy * motion - of_noise * taken["expression"], expected["expr_x0"])
    audio = denoiser.encode_audio(given["mel"], denoiser.modulate(given["speaker"], given["timestep"][None]))
    assert_near(audio[0], expected["audio_feat"])
    taken["exp_time_embed"] = taken["exp_time_embed"].flatten(0, -2)
    for name, value in expected.items():
        if name.startswith("exp_"):
            rows = taken[name]
            if len(value) > num_rows and len(rows) > num_rows:  # published: those without condition first
                rows = rows.roll(num_rows, 0)
            cut = rows[..., : value.shape[-1]] if rows.ndim == 2 else rows[:, : value.shape[1]]
            assert_near(cut.expand_as(value), value)


@pytest.mark.case("diffsheg_beat_forward", "diffsheg_show_forward")
@torch.inference_mode()
def test_prepared_denoiser(case):
    """The order of work of the sampler: all timesteps prepared at once, modulations kept."""
    denoiser, given = denoiser_of(case), inputs_of(case)
    speaker = given["speaker"]
    timesteps = torch.cat([given["timestep"], given["timestep"] // 2])
    modulations = denoiser.modulate(speaker, timesteps)
    scale = float(case.settings["cond_scale"])
    conditioning = denoiser.prepare(
        given["mel"], given["hubert"], speaker, timesteps, modulations=modulations, guidance_scale=scale
    )
    for i in range(len(given["timestep"])):
        noise = denoiser.denoise(given["x"], conditioning[i])
        error = (noise[i] - case.outputs["eps"][i]).abs().max() / case.outputs["eps"].std()
        assert error < 1e-5


@pytest.mark.case("diffsheg_audio_encoder")
@torch.inference_mode()
def test_audio_encoder(case):
    state, named = published(case)
    layer = StylizedLayer(
        named["latent_dim"], named["num_heads"], named["ff_size"], condition_dim=named["time_embed_dim"]
    )
    load(layer, KeyTable(STYLIZED_LAYER.within("encoder_aud.", "")), state)
    given, expected = inputs_of(case), case.outputs
    films, mel = layer.films(F.silu(given["emb"])), 2 * given["mel"]
    assert_near(mel + layer.attention_style(layer.attend(mel), films.attention), expected["after_attention"])
    assert_near(layer(mel, films), expected["feat"])
    assert_near(layer(mel, films, mask=given["mask"][..., 0].bool()), expected["feat_masked"])


@pytest.mark.case("diffsheg_fusion_layer")
@torch.inference_mode()
def test_fusion_layer(case):
    state, named = published(case)
    given, expected = inputs_of(case), case.outputs
    prefix = next(iter(state)).partition("feat_proj")[0]
    speech_dim = 128  # what the fixed encoder of speech features gives; the estimate is the rest
    config = DiffSHEGConfig(
        hidden_dim=named["latent_dim"],
        audio_dim=named["audio_latent"],
        speech_dim=speech_dim,
        num_heads=named["num_heads"],
        feedforward_dim=named["ff_size"],
        fusion_dim=state[f"{prefix}feat_proj.1.bias"].shape[0],
        condition_dim=named["time_embed_dim"],
    )
    layer = FusionLayer(config, named["add_cond"] - speech_dim)
    load(layer, KeyTable(fusion_layer_table(sees_estimate=True).within(prefix, "")), state)
    speech, estimate = given["add_cond"].split([speech_dim, named["add_cond"] - speech_dim], dim=-1)
    films, share = layer.layer.films(F.silu(given["emb"])), layer.fusion.prepare(given["audio"], speech)
    context = moments(torch.cat([given["audio"], given["add_cond"]], dim=-1))
    fused = given["h"] + layer.fusion(given["h"], share, context, estimate)
    assert_near(fused, expected["fused"])
    plain = layer.fusion.plain(torch.cat([given["h"], given["audio"], given["add_cond"]], dim=-1))
    assert_near(given["h"] + plain, expected["fused"])
    style = layer.layer.attention_style
    assert_near(style(fused, films.attention), expected["stylization_of_fused"])
    assert_near(fused + style(layer.layer.attend(fused), films.attention), expected["after_attention"])
    assert_near(layer(given["h"], share, films, context, estimate), expected["layer"])


def load(module, table, state):
    shapes = {key: tensor.shape for key, tensor in module.state_dict().items()}
    module.load_state_dict(table.to_ours(join_projections(state), shapes))
    module.eval()


@pytest.mark.case("diffsheg_small_foppas")
@pytest.mark.parametrize("guided", [False, True])
def test_keys_both_ways(case, guided):
    theirs, named = published(case)
    if guided:  # the two keys by which the published SHOW model differs
        for name in ("encoder_exp", "encoder_ges"):
            width = theirs[f"{name}.temporal_decoder_blocks.0.feat_proj.0.bias"].shape[0]
            theirs[f"{name}.null_cond_emb"] = torch.randn(1, width)
    config = diffsheg_config(theirs, num_heads=named["num_heads"])
    ours = diffsheg_to_published(diffsheg_from_published(theirs, config))
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=0, atol=0, msg=key)


@pytest.mark.case("diffsheg_small_foppas")
@pytest.mark.parametrize("key", ["query.weight", "value.bias"])
def test_a_missing_projection_is_named(case, key):
    theirs, _ = published(case)
    del theirs[f"encoder_aud.sa_block.{key}"]
    kind = key.partition(".")[2]
    with pytest.raises(CheckpointError, match=rf"missing encoder_aud\.sa_block\.query_key_value\.{kind}"):
        diffsheg_from_published(theirs)
