"""MotionStreamer's published weights: key tables, sizes read from shapes, loading.

Three files: the causal autoencoder (``Causal_TAE/net_last.pth``, the state dict under ``net``), the autoregressive
model (``Experiments/t2m_model/latest.pth``, under ``trans``, with or without ``module.``) and the evaluator
(``Evaluator_272/epoch=99.ckpt``, whose encoders stand on the page ``evaluators``). ``cospeech.hub.load_published``
opens them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from cospeech.hub.convert._blocks import (
    count_layers,
    decoder_layer_keys,
    load_published_into,
    shape_of,
    two_layer_keys,
)
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.models.causal_tae import CausalTAE, CausalTAEConfig
from cospeech.models.diffusion_head import DiffusionHead
from cospeech.models.motionstreamer import MotionStreamer, MotionStreamerConfig
from cospeech.models.text_motion_evaluator import EvaluatorConfig
from cospeech.models.tmr import EvaluatorDecoder

__all__ = [
    "DIFFUSION_HEAD",
    "EVALUATOR_DECODER",
    "MOTIONSTREAMER",
    "causal_tae_config",
    "causal_tae_from_published",
    "causal_tae_table",
    "causal_tae_to_published",
    "diffusion_head_from_published",
    "evaluator_decoder_from_published",
    "motionstreamer_config",
    "motionstreamer_from_published",
    "motionstreamer_to_published",
]

_HEAD = "diff_loss.net."

DIFFUSION_HEAD = KeyTable(
    [
        *two_layer_keys(f"{_HEAD}time_embed.mlp", "time_embedding"),
        Key(f"{_HEAD}cond_embed.{{p}}", "condition_in.{p}"),
        Key(f"{_HEAD}input_proj.{{p}}", "latent_in.{p}"),
        Key(f"{_HEAD}res_blocks.{{i}}.in_ln.{{p}}", "norms.{i}.{p}"),
        *two_layer_keys(f"{_HEAD}res_blocks.{{i}}.mlp", "feedforwards.{i}"),
        Key(f"{_HEAD}res_blocks.{{i}}.adaLN_modulation.1.{{p}}", "modulations.{i}.{p}"),
        Key(f"{_HEAD}final_layer.adaLN_modulation.1.{{p}}", "final_modulation.{p}"),
        Key(f"{_HEAD}final_layer.linear.{{p}}", "latent_out.{p}"),
    ]
)
"""The diffusion head alone."""

MOTIONSTREAMER = KeyTable(
    [
        Key("transformer.wte.{p}", "transformer.latent_in.{p}"),
        Key("transformer.cond_embed.{p}", "transformer.text_in.{p}"),
        Key("transformer.h.{i}.rms_1.scale", "transformer.blocks.{i}.attention_norm.weight"),
        Key("transformer.h.{i}.attn.scale", "transformer.blocks.{i}.attention.scale"),
        Key("transformer.h.{i}.attn.c_attn.weight", "transformer.blocks.{i}.attention.query_key_value.weight"),
        Key("transformer.h.{i}.attn.c_proj.weight", "transformer.blocks.{i}.attention.out.weight"),
        Key("transformer.h.{i}.rms_2.scale", "transformer.blocks.{i}.feedforward_norm.weight"),
        Key("transformer.h.{i}.mlp.c_fc1.weight", "transformer.blocks.{i}.feedforward.gate.weight"),
        Key("transformer.h.{i}.mlp.c_fc2.weight", "transformer.blocks.{i}.feedforward.expand.weight"),
        Key("transformer.h.{i}.mlp.c_proj.weight", "transformer.blocks.{i}.feedforward.contract.weight"),
        Key("transformer.ln_f.scale", "transformer.norm.weight"),
        Key("out_proj.{p}", "transformer.out.{p}"),
        *DIFFUSION_HEAD.within("", "head."),
    ]
)
"""Transformer, output projection and diffusion head."""

_DECODER = "motiondecoder."

EVALUATOR_DECODER = KeyTable(
    [
        *decoder_layer_keys(f"{_DECODER}seqTransDecoder.layers.{{i}}", "layers.{i}"),
        Key(f"{_DECODER}final_layer.{{p}}", "out.{p}"),
    ]
)
"""The evaluator's decoder; its table of positions is computed."""


def causal_tae_table(config: CausalTAEConfig) -> KeyTable:
    """The rules of the autoencoder; where a stage stands depends on how many there are."""
    stages, residuals = range(config.num_stages), range(config.num_residuals)
    last = 2 + config.num_stages  # published index behind the stages
    end = 2 + config.num_stages * (config.num_residuals + 1)  # ours, on the way down
    end_up = 2 + config.num_stages * (config.num_residuals + 2)
    rules = [
        Key("tae.decode_proj.{p}", "decoder.project.{p}"),
        Key("tae.encoder.proj.{p}", "encoder.project.{p}"),
        *_conv("encoder", "0", 0),
        *_conv("encoder", f"{last}", end),
        *_conv("decoder", "0", 0),
        *_conv("decoder", f"{last}", end_up),
        *_conv("decoder", f"{last + 2}", end_up + 2),
    ]
    for i in stages:
        down, up = 2 + i * (config.num_residuals + 1), 2 + i * (config.num_residuals + 2)
        rules += _conv("encoder", f"{2 + i}.0", down)
        rules += _conv("decoder", f"{2 + i}.2", up + config.num_residuals + 1)
        for j in residuals:
            rules += _residual(f"tae.encoder.model.{2 + i}.1.model.{j}", f"encoder.network.layers.{down + 1 + j}")
            rules += _residual(f"tae.decoder.model.{2 + i}.0.model.{j}", f"decoder.network.layers.{up + j}")
    return KeyTable(rules)


def causal_tae_config(state: Mapping[str, Tensor]) -> CausalTAEConfig:
    """The configuration that a published autoencoder was made with; the dilation growth is taken as 3.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, motion_dim, _ = shape_of(state, "tae.encoder.model.0.conv.weight")
    return CausalTAEConfig(
        motion_dim=motion_dim,
        hidden_dim=hidden_dim,
        latent_dim=shape_of(state, "tae.decode_proj.weight")[1],
        num_stages=count_layers(state, "tae.encoder.model.") - 2,
        num_residuals=count_layers(state, "tae.encoder.model.2.1.model."),
    )


def causal_tae_from_published(state: Mapping[str, Tensor], config: CausalTAEConfig | None = None) -> CausalTAE:
    """The autoencoder in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published``.
        config: Its configuration; by default ``causal_tae_config(state)``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = config or causal_tae_config(state)
    return load_published_into(partial(CausalTAE, config), causal_tae_table(config), state)


def causal_tae_to_published(tae: CausalTAE) -> dict[str, Tensor]:
    """The state that the published program would have saved under ``net``."""
    return causal_tae_table(tae.config).to_published(tae.state_dict())


def motionstreamer_config(state: Mapping[str, Tensor], *, head_width: int = 64) -> MotionStreamerConfig:
    """The configuration that a published autoregressive model was made with.

    Args:
        state: A published state.
        head_width: Channels of an attention head, which the shapes do not tell.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    dim, latent_dim = shape_of(state, "transformer.wte.weight")
    shape_of(state, "transformer.h.0.attn.scale")
    # The scale of attention is the logarithm of n^2 - n for n positions.
    pairs = 2 ** float(state["transformer.h.0.attn.scale"])
    head_dim, time_dim = shape_of(state, f"{_HEAD}time_embed.mlp.0.weight")
    return MotionStreamerConfig(
        text_dim=shape_of(state, "transformer.cond_embed.weight")[1],
        latent_dim=latent_dim,
        dim=dim,
        num_layers=count_layers(state, "transformer.h."),
        num_heads=dim // head_width,
        feedforward_dim=shape_of(state, "transformer.h.0.mlp.c_fc1.weight")[0],
        max_positions=round((1 + math.sqrt(1 + 4 * pairs)) / 2),
        head_dim=head_dim,
        head_layers=count_layers(state, f"{_HEAD}res_blocks."),
        time_dim=time_dim,
    )


def motionstreamer_from_published(
    state: Mapping[str, Tensor], config: MotionStreamerConfig | None = None
) -> MotionStreamer:
    """Transformer and head in evaluation mode, with the published weights; arguments as for the autoencoder.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    return load_published_into(partial(MotionStreamer, config or motionstreamer_config(state)), MOTIONSTREAMER, state)


def motionstreamer_to_published(model: MotionStreamer) -> dict[str, Tensor]:
    """The state that the published program would have saved under ``trans``; scales of attention are float64 there."""
    state = MOTIONSTREAMER.to_published(model.state_dict())
    return {key: tensor.double() if key.endswith("attn.scale") else tensor for key, tensor in state.items()}


def diffusion_head_from_published(state: Mapping[str, Tensor]) -> DiffusionHead:
    """The head alone, from a state that holds nothing else.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    dim, condition_dim = shape_of(state, f"{_HEAD}cond_embed.weight")
    make = partial(
        DiffusionHead,
        shape_of(state, f"{_HEAD}input_proj.weight")[1],
        condition_dim,
        dim=dim,
        num_layers=count_layers(state, f"{_HEAD}res_blocks."),
        time_dim=shape_of(state, f"{_HEAD}time_embed.mlp.0.weight")[1],
    )
    return load_published_into(make, DIFFUSION_HEAD, state)


def evaluator_decoder_from_published(state: Mapping[str, Tensor], *, num_heads: int = 4) -> EvaluatorDecoder:
    """The evaluator's decoder in evaluation mode, from a state that may hold the encoders too.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    state = {key: tensor for key, tensor in state.items() if key.startswith(_DECODER) and not key.endswith(".pe")}
    motion_dim, dim = shape_of(state, f"{_DECODER}final_layer.weight")
    config = EvaluatorConfig(
        input_dim=motion_dim,
        dim=dim,
        num_layers=count_layers(state, f"{_DECODER}seqTransDecoder.layers."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, f"{_DECODER}seqTransDecoder.layers.0.linear1.weight")[0],
    )
    return load_published_into(partial(EvaluatorDecoder, config), EVALUATOR_DECODER, state)


def _conv(side: str, published: str, ours: int) -> list[Key]:
    return [Key(f"tae.{side}.model.{published}.conv.{{p}}", f"{side}.network.layers.{ours}.conv.{{p}}")]


def _residual(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.conv1.{{p}}", f"{ours}.dilated.conv.{{p}}"),
        Key(f"{published}.conv2.{{p}}", f"{ours}.mix.{{p}}"),
    ]
