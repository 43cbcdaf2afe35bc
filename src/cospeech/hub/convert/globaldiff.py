"""GlobalDiff's published weights: key tables, sizes read from shapes, loading.

No configuration file accompanies the published checkpoints. What their shapes tell is read from them; the number of
attention heads and of seed frames, which they do not tell, default to the published constructors'.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from cospeech.hub.convert._blocks import (
    attention_keys,
    count_layers,
    decoder_layer_keys,
    load_published_into,
    shape_of,
    two_layer_keys,
)
from cospeech.hub.convert._table import Constant, Key, KeyTable
from cospeech.models.globaldiff import GlobalDiffConfig, GlobalDiffDenoiser
from cospeech.models.globaldiff_speech import SpeechModel, SpeechModelConfig
from cospeech.nn import inverse_frequencies

__all__ = [
    "BLOCK",
    "DENOISER",
    "SPEECH_MODEL",
    "denoiser_config",
    "denoiser_from_published",
    "denoiser_to_published",
    "speech_model_config",
    "speech_model_from_published",
    "speech_model_to_published",
]


def _stream(name: str) -> list[Key]:
    return [
        Key(f"in_{name}.{{p}}", f"{name}.part_in.{{p}}"),
        Key(f"in_x_{name}.weight", f"{name}.motion_in.weight", f"{name}.expression_in.weight", axis=1),
        Key(f"in_x_{name}.bias", f"{name}.motion_in.bias"),
        Key(f"{name}_fuse.weight", f"{name}.fuse.weight", f"{name}.audio_fuse.weight", axis=1),
        Key(f"{name}_fuse.bias", f"{name}.fuse.bias"),
        Key(f"seed_prj_{name}.{{p}}", f"{name}.seed_in.{{p}}"),
        *BLOCK.within(f"transformer_{name}.{{i}}.", f"{name}.blocks.{{i}}."),
        Key(f"{name}.{{p}}", f"{name}.head.{{p}}"),
    ]


BLOCK = KeyTable(
    [
        Key("mlp.1.{p}", "modulation.linear.{p}"),
        *attention_keys("attn", "self_attention"),
        *attention_keys("cross_attn", "cross_attention"),
        *two_layer_keys("ff", "feedforward"),
        *two_layer_keys("ff_seed_poses", "seed_feedforward"),
    ]
)
"""One block of the denoiser."""

DENOISER = KeyTable(
    [
        Constant("pos_enc.penc.inv_freq", lambda ours: inverse_frequencies(ours["hand.part_in.weight"].shape[0])),
        *two_layer_keys("hubert_prj", "audio_projection"),
        *two_layer_keys("time_embed", "time_embedding"),
        *two_layer_keys("style_embed.mlp", "speaker_embedding.mlp"),
        *_stream("hand"),
        *_stream("body"),
    ]
)
"""``DiffusionDITNetPartsFixedExpressions2PostNorm``."""

SPEECH_MODEL = KeyTable(
    [
        Constant("pos_enc.penc.inv_freq", lambda ours: inverse_frequencies(ours["project.weight"].shape[0])),
        *two_layer_keys("style_embed.mlp", "speaker_embedding.mlp"),
        Key("audio_feature_map.{p}", "project.{p}"),
        *decoder_layer_keys("transformer_decoder.layers.{i}", "layers.{i}"),
        Key("vertice_map_r.{p}", "head.{p}"),
    ]
)
"""``SimpleSpeechModel``."""


def denoiser_config(state: Mapping[str, Tensor], *, num_heads: int = 8, num_seed_frames: int = 8) -> GlobalDiffConfig:
    """The configuration that a published denoiser state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, part_and_rest = shape_of(state, "in_x_hand.weight")
    motion_dim = shape_of(state, "hand.weight")[0] + shape_of(state, "body.weight")[0]
    speaker_hidden_dim, num_speakers = shape_of(state, "style_embed.mlp.0.weight")
    return GlobalDiffConfig(
        hidden_dim=hidden_dim,
        num_layers=count_layers(state, "transformer_hand."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, "transformer_hand.0.ff.0.weight")[0],
        feature_dim=shape_of(state, "hubert_prj.0.weight")[1],
        expression_dim=part_and_rest - motion_dim,
        num_speakers=num_speakers,
        speaker_hidden_dim=speaker_hidden_dim,
        speaker_dim=shape_of(state, "style_embed.mlp.2.weight")[0],
        num_seed_frames=num_seed_frames,
    )


def speech_model_config(state: Mapping[str, Tensor], *, num_heads: int = 4) -> SpeechModelConfig:
    """The configuration that a published speech model state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, features_and_style = shape_of(state, "audio_feature_map.weight")
    speaker_dim, speaker_hidden_dim = shape_of(state, "style_embed.mlp.2.weight")
    return SpeechModelConfig(
        hidden_dim=hidden_dim,
        num_layers=count_layers(state, "transformer_decoder.layers."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, "transformer_decoder.layers.0.linear1.weight")[0],
        feature_dim=features_and_style - speaker_dim,
        expression_dim=shape_of(state, "vertice_map_r.weight")[0],
        num_speakers=shape_of(state, "style_embed.mlp.0.weight")[1],
        speaker_hidden_dim=speaker_hidden_dim,
        speaker_dim=speaker_dim,
    )


def denoiser_from_published(state: Mapping[str, Tensor], config: GlobalDiffConfig | None = None) -> GlobalDiffDenoiser:
    """The denoiser in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published``.
        config: Its configuration; by default ``denoiser_config(state)``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    return load_published_into(partial(GlobalDiffDenoiser, config or denoiser_config(state)), DENOISER, state)


def denoiser_to_published(denoiser: GlobalDiffDenoiser) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return DENOISER.to_published(denoiser.state_dict())


def speech_model_from_published(state: Mapping[str, Tensor], config: SpeechModelConfig | None = None) -> SpeechModel:
    """The speech model in evaluation mode, with the published weights; arguments as for the denoiser.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    return load_published_into(partial(SpeechModel, config or speech_model_config(state)), SPEECH_MODEL, state)


def speech_model_to_published(model: SpeechModel) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return SPEECH_MODEL.to_published(model.state_dict())
