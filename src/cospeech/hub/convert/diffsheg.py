"""DiffSHEG's published weights: key table, sizes read from shapes, loading.

The published state dicts carry no configuration. What their shapes tell is read from them; the number of attention
heads, which they do not tell, defaults to the published one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from cospeech.hub.convert._blocks import count_layers, load_published_into, shape_of, two_layer_keys
from cospeech.hub.convert._table import Constant, Key, KeyTable
from cospeech.models.diffsheg import DiffSHEGDenoiser, diffsheg_positions
from cospeech.models.diffsheg_config import DiffSHEGConfig

__all__ = [
    "STYLIZED_LAYER",
    "diffsheg_config",
    "diffsheg_from_published",
    "diffsheg_table",
    "diffsheg_to_published",
    "fusion_layer_table",
    "join_projections",
    "part_projections",
]

State = Mapping[str, Tensor]

_PROJECTIONS = ("query", "key", "value")
_BRANCHES = {"encoder_ges": "branches.gesture", "encoder_exp": "branches.expression"}


def _style_keys(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.emb_layers.1.{{p}}", f"{ours}.condition.{{p}}"),
        Key(f"{published}.norm.{{p}}", f"{ours}.norm.{{p}}"),
        Key(f"{published}.out_layers.2.{{p}}", f"{ours}.out.{{p}}"),
    ]


STYLIZED_LAYER = KeyTable(
    [
        Key("sa_block.norm.{p}", "attention_norm.{p}"),
        Key("sa_block.query_key_value.{p}", "attention.query_key_value.{p}"),
        *_style_keys("sa_block.proj_out", "attention_style"),
        *two_layer_keys("ffn", "feedforward", names=("linear1", "linear2")),
        *_style_keys("ffn.proj_out", "feedforward_style"),
    ]
)
"""One layer, after ``join_projections``."""


def fusion_layer_table(*, sees_estimate: bool) -> KeyTable:
    """One layer of a branch, after ``join_projections``; the fusion's product is cut by what it reads."""
    parts = ["motion_in", "audio_in", "speech_in", *(["estimate_in"] if sees_estimate else [])]
    return KeyTable(
        [
            Key("feat_proj.0.{p}", "fusion.norm.{p}"),
            Key("feat_proj.1.weight", *(f"fusion.{part}.weight" for part in parts), axis=1),
            Key("feat_proj.1.bias", "fusion.bias"),
            Key("feat_proj.3.{p}", "fusion.out.{p}"),
            *STYLIZED_LAYER.within("", "layer."),
        ]
    )


def diffsheg_table(config: DiffSHEGConfig) -> KeyTable:
    """``UniDiffuser``, after ``join_projections``."""
    rules: list[Key | Constant] = [
        *two_layer_keys("time_embed", "time_embedding"),
        *STYLIZED_LAYER.within("encoder_aud.", "audio_encoder."),
    ]
    for published, ours in _BRANCHES.items():
        estimate_dim = config.estimate_dim(ours.removeprefix("branches."))
        layer = fusion_layer_table(sees_estimate=estimate_dim > 0)
        rules += [
            Constant(f"{published}.PE.pe", partial(_positions, dim=config.hidden_dim)),
            Key(f"{published}.joint_embed.{{p}}", f"{ours}.motion_in.{{p}}"),
            Key(f"{published}.audio_proj.{{p}}", f"{ours}.audio_in.{{p}}"),
            Key(f"{published}.hubert_encoder.0.{{p}}", f"{ours}.speech_encoder.first.{{p}}"),
            Key(f"{published}.hubert_encoder.1.{{p}}", f"{ours}.speech_encoder.norm.{{p}}"),
            Key(f"{published}.hubert_encoder.3.{{p}}", f"{ours}.speech_encoder.second.{{p}}"),
            *two_layer_keys(f"{published}.time_embed", f"{ours}.time_embedding"),
            *two_layer_keys(f"{published}.pid_embed", f"{ours}.speaker_embedding.mlp"),
            *layer.within(f"{published}.temporal_decoder_blocks.{{i}}.", f"{ours}.layers.{{i}}."),
            Key(f"{published}.out.{{p}}", f"{ours}.out.{{p}}"),
            Key(f"{published}.null_cond_emb", f"{ours}.null_condition"),
        ]
    return KeyTable(rules)


def diffsheg_config(state: State, *, num_heads: int = 8, num_timesteps: int = 1000) -> DiffSHEGConfig:
    """The configuration that a published state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    gesture_dim, hidden_dim = shape_of(state, "encoder_ges.joint_embed.weight")[::-1]
    condition_dim, num_speakers = shape_of(state, "encoder_ges.pid_embed.0.weight")
    speech_dim, speech_feature_dim, _ = shape_of(state, "encoder_ges.hubert_encoder.0.weight")
    audio_dim, twice_mel_dim = shape_of(state, "encoder_ges.audio_proj.weight")
    layer = "encoder_ges.temporal_decoder_blocks.0"
    return DiffSHEGConfig(
        gesture_dim=gesture_dim,
        expression_dim=shape_of(state, "encoder_exp.joint_embed.weight")[1],
        mel_dim=twice_mel_dim // 2,
        speech_feature_dim=speech_feature_dim,
        num_speakers=num_speakers,
        hidden_dim=hidden_dim,
        num_layers=count_layers(state, "encoder_ges.temporal_decoder_blocks."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, f"{layer}.ffn.linear1.weight")[0],
        fusion_dim=shape_of(state, f"{layer}.feat_proj.1.weight")[0],
        condition_dim=condition_dim,
        audio_dim=audio_dim,
        speech_dim=speech_dim,
        num_timesteps=num_timesteps,
        unconditional="encoder_ges.null_cond_emb" in state,
    )


def diffsheg_from_published(state: State, config: DiffSHEGConfig | None = None) -> DiffSHEGDenoiser:
    """The denoiser in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published``, which finds it under ``encoder``.
        config: Its configuration; by default ``diffsheg_config(state)``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = config or diffsheg_config(state)
    return load_published_into(partial(DiffSHEGDenoiser, config), diffsheg_table(config), join_projections(state))


def diffsheg_to_published(denoiser: DiffSHEGDenoiser) -> dict[str, Tensor]:
    """The state that the published program would have saved.

    Raises:
        CheckpointError: If the model is one of the ablation's, for which no names were published.
    """
    return part_projections(diffsheg_table(denoiser.config).to_published(denoiser.state_dict()))


def join_projections(state: State) -> dict[str, Tensor]:
    """A published state whose queries, keys and values are one product.

    Where one of the three is missing, or of another shape, they are left alone, and then reported as not fitting.
    """
    joined = dict(state)
    for key in state:
        before, found, kind = key.partition("sa_block.query.")
        names = [f"{before}sa_block.{name}.{kind}" for name in _PROJECTIONS]
        if found and all(name in state and state[name].shape == state[key].shape for name in names):
            parts = [joined.pop(name) for name in names]
            joined[f"{before}sa_block.query_key_value.{kind}"] = torch.cat(parts)
    return joined


def part_projections(state: State) -> dict[str, Tensor]:
    """The inverse of ``join_projections``."""
    parted: dict[str, Tensor] = {}
    for key, tensor in state.items():
        before, found, kind = key.partition("sa_block.query_key_value.")
        if found:
            names = [f"{before}sa_block.{name}.{kind}" for name in _PROJECTIONS]
            parted.update(zip(names, (part.clone() for part in tensor.chunk(3)), strict=True))
        else:
            parted[key] = tensor
    return parted


def _positions(state: State, *, dim: int) -> Tensor:
    table = diffsheg_positions(dim)
    return torch.cat([table, table])[None]
