"""Published weights of the networks that only measure: gesture autoencoder, text-motion evaluator.

The skeleton autoencoder's are on GlobalDiff's page of masked VAEs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub.convert._blocks import count_layers, encoder_layer_keys, load_published_into, shape_of
from cospeech.hub.convert._table import Constant, Key, KeyTable
from cospeech.models.distilbert import DistilBert, DistilBertConfig
from cospeech.models.gesture_embedding import GestureAutoencoder, GestureAutoencoderConfig
from cospeech.models.text_motion_evaluator import EvaluatorConfig, MotionEvaluator, TextEvaluator, TextEvaluatorConfig
from cospeech.nn import sinusoidal_positions

__all__ = [
    "MOTION_EVALUATOR",
    "TEXT_EVALUATOR",
    "distilbert_from_published",
    "gesture_autoencoder_config",
    "gesture_autoencoder_from_published",
    "gesture_autoencoder_table",
    "gesture_autoencoder_to_published",
    "motion_evaluator_from_published",
    "motion_evaluator_to_published",
    "text_evaluator_from_published",
    "text_evaluator_to_published",
]

State = Mapping[str, Tensor]

_NUM_POSITIONS = 5000


def gesture_autoencoder_table(config: GestureAutoencoderConfig) -> KeyTable:
    """``HalfEmbeddingNet``; windows other than 34 frames have one linear layer more."""
    rules: list[Key | Constant] = [Key("pose_encoder.net.3.{p}", "convs.3.{p}")]
    for i in range(3):
        rules += [
            Key(f"pose_encoder.net.{i}.0.{{p}}", f"convs.{i}.{{p}}"),
            Key(f"pose_encoder.net.{i}.1.{{p}}", f"conv_norms.{i}.{{p}}"),
        ]
    # Linear, norm, activation by turns; the additional pair has no activation behind it.
    long = config.encoded_frames != GestureAutoencoderConfig().encoded_frames
    numbers = (0, 2, 5, 8) if long else (0, 3, 6)
    for i, number in enumerate(numbers):
        rules.append(Key(f"pose_encoder.out_net.{number}.{{p}}", f"linears.{i}.{{p}}"))
        if i < len(numbers) - 1:
            rules.append(Key(f"pose_encoder.out_net.{number + 1}.{{p}}", f"linear_norms.{i}.{{p}}"))
    names = {
        "pose_encoder.fc_mu": "mean",
        "pose_encoder.fc_logvar": "log_variance",
        "decoder.pre_net.0": "expand",
        "decoder.pre_net.1": "expand_norm",
        "decoder.pre_net.3": "spread",
        "decoder.net.0": "upconvs.0",
        "decoder.net.1": "upconv_norms.0",
        "decoder.net.3": "upconvs.1",
        "decoder.net.4": "upconv_norms.1",
        "decoder.net.6": "out.0",
        "decoder.net.7": "out.1",
    }
    return KeyTable([*rules, *(Key(f"{theirs}.{{p}}", f"{ours}.{{p}}") for theirs, ours in names.items())])


def gesture_autoencoder_config(state: State) -> GestureAutoencoderConfig:
    """The configuration that a published state was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    spread, channels = shape_of(state, "decoder.pre_net.3.weight"), shape_of(state, "decoder.net.0.weight")
    return GestureAutoencoderConfig(
        num_frames=spread[0] // channels[0],
        motion_dim=shape_of(state, "pose_encoder.net.0.0.weight")[1],
        latent_dim=shape_of(state, "pose_encoder.fc_mu.weight")[0],
    )


def gesture_autoencoder_from_published(state: State) -> GestureAutoencoder:
    """The autoencoder in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = gesture_autoencoder_config(state)
    return load_published_into(partial(GestureAutoencoder, config), gesture_autoencoder_table(config), state)


def gesture_autoencoder_to_published(model: GestureAutoencoder) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return gesture_autoencoder_table(model.config).to_published(model.state_dict())


def _positions(key: str, state: State) -> Tensor:
    return sinusoidal_positions(_NUM_POSITIONS, state[key].shape[0])[:, None]


_ENCODER_KEYS = [
    Key("mu_token", "mean_token"),
    Key("logvar_token", "log_variance_token"),
    *encoder_layer_keys("seqTransEncoder.layers.{i}", "layers.{i}"),
]

MOTION_EVALUATOR = KeyTable(
    [
        Constant("sequence_pos_encoding.pe", partial(_positions, "mean_token")),
        Key("skel_embedding.{p}", "project.{p}"),
        *_ENCODER_KEYS,
    ]
)
"""The motion encoder of ``Evaluator_272``."""

_BERT_LAYER = [
    Key("attention.q_lin.{p}", "self_attention.query.{p}"),
    Key("attention.out_lin.{p}", "self_attention.out.{p}"),
    Key("sa_layer_norm.{p}", "self_norm.{p}"),
    Key("ffn.lin1.{p}", "feedforward.expand.{p}"),
    Key("ffn.lin2.{p}", "feedforward.contract.{p}"),
    Key("output_layer_norm.{p}", "feedforward_norm.{p}"),
    # DistilBERT keeps keys and values apart; `_split_key_value` joins and parts them.
    Key("attention.kv_lin.{p}", "self_attention.key_value.{p}"),
]

_BERT = [
    Key("embeddings.word_embeddings.weight", "words.weight"),
    Key("embeddings.position_embeddings.weight", "positions.weight"),
    Key("embeddings.LayerNorm.{p}", "norm.{p}"),
    *KeyTable(_BERT_LAYER).within("transformer.layer.{i}.", "layers.{i}."),
]

TEXT_EVALUATOR = KeyTable(
    [
        Constant("sequence_pos_encoding.pe", partial(_positions, "encoder.mean_token")),
        *KeyTable(_BERT).within("text_model.", "bert."),
        Key("projection.1.{p}", "encoder.project.{p}"),
        *KeyTable(_ENCODER_KEYS).within("", "encoder."),
    ]
)
"""The text encoder of ``Evaluator_272``, with keys and values of DistilBERT joined."""


def motion_evaluator_from_published(state: State, *, num_heads: int = 4) -> MotionEvaluator:
    """The motion encoder in evaluation mode, with the published weights.

    Args:
        state: A published state, with or without ``motionencoder.`` before its keys; others are left out then.
        num_heads: Which the shapes do not tell.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    state = _part(state, "motionencoder.")
    config = _evaluator_config(state, "skel_embedding.weight", num_heads)
    return load_published_into(partial(MotionEvaluator, config), MOTION_EVALUATOR, state)


def motion_evaluator_to_published(model: MotionEvaluator) -> dict[str, Tensor]:
    """The state that the published program would have saved, without a prefix."""
    return MOTION_EVALUATOR.to_published(model.state_dict())


def distilbert_from_published(state: State, *, num_heads: int = 12) -> DistilBert:
    """DistilBERT in evaluation mode, with the published weights.

    Args:
        state: As the transformers library keeps it, with or without ``distilbert.`` before its keys; what else the
            file holds, such as a head that guesses words, is left out.
        num_heads: Which the shapes do not tell.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    state = _part(state, "distilbert.")
    state = {key: x for key, x in state.items() if key.startswith(("embeddings.", "transformer."))}
    state = _join_key_value(state)
    return load_published_into(partial(DistilBert, _bert_config(state, "", num_heads)), KeyTable(_BERT), state)


def text_evaluator_from_published(state: State, *, num_heads: int = 4, num_bert_heads: int = 12) -> TextEvaluator:
    """The text encoder in evaluation mode, with the published weights.

    Args:
        state: A published state, with or without ``textencoder.`` before its keys; others are left out then.
        num_heads: Which the shapes do not tell.
        num_bert_heads: The same of DistilBERT.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    state = _join_key_value(_part(state, "textencoder."))
    config = TextEvaluatorConfig(
        bert=_bert_config(state, "text_model.", num_bert_heads),
        encoder=_evaluator_config(state, "projection.1.weight", num_heads),
    )
    return load_published_into(partial(TextEvaluator, config), TEXT_EVALUATOR, state)


def text_evaluator_to_published(model: TextEvaluator) -> dict[str, Tensor]:
    """The state that the published program would have saved, without a prefix."""
    return _split_key_value(TEXT_EVALUATOR.to_published(model.state_dict()))


def _bert_config(state: State, prefix: str, num_heads: int) -> DistilBertConfig:
    vocabulary, dim = shape_of(state, f"{prefix}embeddings.word_embeddings.weight")
    return DistilBertConfig(
        vocabulary=vocabulary,
        max_tokens=shape_of(state, f"{prefix}embeddings.position_embeddings.weight")[0],
        dim=dim,
        num_layers=count_layers(state, f"{prefix}transformer.layer."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, f"{prefix}transformer.layer.0.ffn.lin1.weight")[0],
    )


def _evaluator_config(state: State, projection: str, num_heads: int) -> EvaluatorConfig:
    dim, input_dim = shape_of(state, projection)
    return EvaluatorConfig(
        input_dim=input_dim,
        dim=dim,
        num_layers=count_layers(state, "seqTransEncoder.layers."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, "seqTransEncoder.layers.0.linear1.weight")[0],
    )


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    part = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return part or dict(state)


def _join_key_value(state: State) -> dict[str, Tensor]:
    joined = {key: tensor for key, tensor in state.items() if ".k_lin." not in key and ".v_lin." not in key}
    keys = [key.replace(".v_lin.", ".k_lin.") for key in state if ".k_lin." in key or ".v_lin." in key]
    for key in dict.fromkeys(keys):
        names = (key, key.replace(".k_lin.", ".v_lin."))
        problems = [f"missing {name}" for name in names if name not in state]
        if not problems and state[names[0]].shape != state[names[1]].shape:
            shapes = [tuple(state[name].shape) for name in names]
            problems = [f"misshapen {names[1]}: {shapes[1]} beside keys of {shapes[0]}"]
        if problems:
            raise CheckpointError(f"The published weights do not fit: {'; '.join(problems)}.")
        joined[key.replace(".k_lin.", ".kv_lin.")] = torch.cat([state[name] for name in names])
    return joined


def _split_key_value(state: State) -> dict[str, Tensor]:
    parted = {key: tensor for key, tensor in state.items() if ".kv_lin." not in key}
    for key, tensor in state.items():
        if ".kv_lin." in key:
            for name, half in zip("kv", tensor.chunk(2), strict=True):
                parted[key.replace(".kv_lin.", f".{name}_lin.")] = half
    return parted
