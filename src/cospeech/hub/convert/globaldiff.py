"""GlobalDiff's published weights: key tables, sizes read from shapes, loading.

No configuration file accompanies the published checkpoints. What their shapes tell is read from them; the number of
attention heads and of seed frames, which they do not tell, default to the published constructors'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub.convert._table import Constant, Key, KeyTable
from cospeech.models.globaldiff import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig
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

ModelT = TypeVar("ModelT", bound=nn.Module)


def _attention(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.in_proj_{{p}}", f"{ours}.query.{{p}}", f"{ours}.key_value.{{p}}"),
        Key(f"{published}.out_proj.{{p}}", f"{ours}.out.{{p}}"),
    ]


def _two_layers(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.0.{{p}}", f"{ours}.expand.{{p}}"),
        Key(f"{published}.2.{{p}}", f"{ours}.contract.{{p}}"),
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
        *_attention("attn", "self_attention"),
        *_attention("cross_attn", "cross_attention"),
        *_two_layers("ff", "feedforward"),
        *_two_layers("ff_seed_poses", "seed_feedforward"),
    ]
)
"""One block of the denoiser."""

DENOISER = KeyTable(
    [
        Constant("pos_enc.penc.inv_freq", lambda ours: inverse_frequencies(ours["hand.part_in.weight"].shape[0])),
        *_two_layers("hubert_prj", "audio_projection"),
        *_two_layers("time_embed", "time_embedding"),
        *_two_layers("style_embed.mlp", "speaker_embedding.mlp"),
        *_stream("hand"),
        *_stream("body"),
    ]
)
"""``DiffusionDITNetPartsFixedExpressions2PostNorm``."""

SPEECH_MODEL = KeyTable(
    [
        Constant("pos_enc.penc.inv_freq", lambda ours: inverse_frequencies(ours["project.weight"].shape[0])),
        *_two_layers("style_embed.mlp", "speaker_embedding.mlp"),
        Key("audio_feature_map.{p}", "project.{p}"),
        *_attention("transformer_decoder.layers.{i}.self_attn", "layers.{i}.self_attention"),
        *_attention("transformer_decoder.layers.{i}.multihead_attn", "layers.{i}.cross_attention"),
        Key("transformer_decoder.layers.{i}.linear1.{p}", "layers.{i}.feedforward.expand.{p}"),
        Key("transformer_decoder.layers.{i}.linear2.{p}", "layers.{i}.feedforward.contract.{p}"),
        Key("transformer_decoder.layers.{i}.norm1.{p}", "layers.{i}.self_norm.{p}"),
        Key("transformer_decoder.layers.{i}.norm2.{p}", "layers.{i}.cross_norm.{p}"),
        Key("transformer_decoder.layers.{i}.norm3.{p}", "layers.{i}.feedforward_norm.{p}"),
        Key("vertice_map_r.{p}", "head.{p}"),
    ]
)
"""``SimpleSpeechModel``."""


def denoiser_config(state: Mapping[str, Tensor], *, num_heads: int = 8, num_seed_frames: int = 8) -> GlobalDiffConfig:
    """The configuration that a published denoiser state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, part_and_rest = _shape(state, "in_x_hand.weight")
    motion_dim = _shape(state, "hand.weight")[0] + _shape(state, "body.weight")[0]
    speaker_hidden_dim, num_speakers = _shape(state, "style_embed.mlp.0.weight")
    return GlobalDiffConfig(
        hidden_dim=hidden_dim,
        num_layers=_count(state, "transformer_hand."),
        num_heads=num_heads,
        feedforward_dim=_shape(state, "transformer_hand.0.ff.0.weight")[0],
        feature_dim=_shape(state, "hubert_prj.0.weight")[1],
        expression_dim=part_and_rest - motion_dim,
        num_speakers=num_speakers,
        speaker_hidden_dim=speaker_hidden_dim,
        speaker_dim=_shape(state, "style_embed.mlp.2.weight")[0],
        num_seed_frames=num_seed_frames,
    )


def speech_model_config(state: Mapping[str, Tensor], *, num_heads: int = 4) -> SpeechModelConfig:
    """The configuration that a published speech model state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, features_and_style = _shape(state, "audio_feature_map.weight")
    speaker_dim, speaker_hidden_dim = _shape(state, "style_embed.mlp.2.weight")
    return SpeechModelConfig(
        hidden_dim=hidden_dim,
        num_layers=_count(state, "transformer_decoder.layers."),
        num_heads=num_heads,
        feedforward_dim=_shape(state, "transformer_decoder.layers.0.linear1.weight")[0],
        feature_dim=features_and_style - speaker_dim,
        expression_dim=_shape(state, "vertice_map_r.weight")[0],
        num_speakers=_shape(state, "style_embed.mlp.0.weight")[1],
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
    return _load(GlobalDiffDenoiser(config or denoiser_config(state)), DENOISER, state)


def denoiser_to_published(denoiser: GlobalDiffDenoiser) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return DENOISER.to_published(denoiser.state_dict())


def speech_model_from_published(state: Mapping[str, Tensor], config: SpeechModelConfig | None = None) -> SpeechModel:
    """The speech model in evaluation mode, with the published weights; arguments as for the denoiser.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    return _load(SpeechModel(config or speech_model_config(state)), SPEECH_MODEL, state)


def speech_model_to_published(model: SpeechModel) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return SPEECH_MODEL.to_published(model.state_dict())


def _load(model: ModelT, table: KeyTable, state: Mapping[str, Tensor]) -> ModelT:
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(table.to_ours(state, shapes))
    return model.eval()


def _shape(state: Mapping[str, Tensor], key: str) -> torch.Size:
    if key not in state:
        raise CheckpointError(f"These are not the published weights: {key} is missing.")
    return state[key].shape


def _count(state: Mapping[str, Any], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
