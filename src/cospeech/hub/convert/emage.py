"""The published weights of EMAGE's transformer: key table, configuration, loading and writing back.

The published file also holds two layers that nothing uses, the prototypes from which its stacks were cloned, and a
table of positions. Both are accepted, and made again for a file that the published program is to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub.convert._blocks import (
    count_layers,
    decoder_layer_keys,
    encoder_layer_keys,
    load_published_into,
    shape_of,
    two_layer_keys,
)
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.hub.convert.emage_vqvae import encoder_keys
from cospeech.models import EmageConfig, EmageParts, EmageTransformer
from cospeech.nn import PeriodicPositionalEncoding

__all__ = [
    "WAVE_ENCODER",
    "PublishedTransformer",
    "transformer_config",
    "transformer_from_published",
    "transformer_to_published",
    "transformer_to_published_config",
]

State = Mapping[str, Tensor]

_POSITIONS = "position_embeddings.pe"
_PROTOTYPES = {  # unused layer: the first of the layers that were cloned from it
    "transformer_en_layer.": "motion_self_encoder.layers.0.",
    "audio_motion_cross_attn_layer.": "audio_motion_cross_attn.layers.0.",
}


class PublishedTransformer(NamedTuple):
    """A published transformer.

    Attributes:
        model: In evaluation mode.
        prototypes: The unused layers under their published keys, for writing back what was read.
    """

    model: EmageTransformer
    prototypes: dict[str, Tensor]


def transformer_config(state: State, published: Mapping[str, Any] | None = None) -> EmageConfig:
    """The configuration of a published transformer: sizes from its shapes, the rest from its ``config.json``.

    Args:
        state: Published keys and tensors.
        published: The fields of ``config.json``; the published values where one is missing.

    Raises:
        CheckpointError: If a tensor that tells a size is missing, or the configuration makes no sense.
    """
    published = published or {}
    motion_latent_dim, motion_dim, _ = shape_of(state, "motion_encoder.main.0.weight")
    num_speakers, hidden_dim = shape_of(state, "speaker_embedding_body.weight")
    # Weights of the losses decide how parts are decoded: "cu" that of the upper body's codes, "lu" of its latents.
    weights = {
        part: (published.get(f"c{part[0]}", 0 if part == "face" else 1), published.get(f"l{part[0]}", 3))
        for part in EmageParts._fields
    }
    try:
        return EmageConfig(
            motion_dim=motion_dim,
            motion_latent_dim=motion_latent_dim,
            num_motion_stages=count_layers(state, "motion_encoder.main.") // 2,  # convolution and residual block
            audio_dim=shape_of(state, "audio_body_motion_proj.weight")[1],
            hidden_dim=hidden_dim,
            feedforward_dim=shape_of(state, "motion_self_encoder.layers.0.linear1.weight")[0],
            num_face_layers=count_layers(state, "face_motion_decoder.layers."),
            num_self_layers=count_layers(state, "motion_self_encoder.layers."),
            num_audio_layers=count_layers(state, "audio_motion_cross_attn.layers."),
            num_part_layers=count_layers(state, "body_motion_decoder_upper.layers."),
            code_dim=shape_of(state, "face_out_proj.weight")[0],
            num_codes=shape_of(state, "face_cls.fc2.weight")[0],
            num_speakers=num_speakers,
            window_frames=published.get("pose_length", EmageConfig.window_frames),
            seed_frames=published.get("seed_frames", EmageConfig.seed_frames),
            code_parts=tuple(part for part, (code, _) in weights.items() if code > 0),
            latent_parts=tuple(part for part, (code, latent) in weights.items() if latent > 0 and code == 0),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The published configuration does not fit: {error}") from error


def transformer_from_published(
    state: State, published: Mapping[str, Any] | None = None, *, copy: bool = True
) -> PublishedTransformer:
    """The transformer with the published weights.

    Args:
        state: Published keys and tensors.
        published: The fields of the ``config.json`` beside them.
        copy: Whether the weights are copied; without, the model takes over the memory of a state that is used up.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = transformer_config(state, published)
    prototypes = {key: value for key, value in state.items() if key.startswith(tuple(_PROTOTYPES))}
    used = {key: value for key, value in state.items() if key not in prototypes}
    given, positions = used.pop(_POSITIONS, None), _positions(config)
    if given is None or given.shape != positions.shape or not torch.allclose(given, positions, rtol=0, atol=1e-5):
        raise CheckpointError(f"{_POSITIONS} must hold sinusoidal positions of shape {tuple(positions.shape)}.")
    model = load_published_into(lambda: EmageTransformer(config), _table(config.num_motion_stages), used, copy=copy)
    return PublishedTransformer(model, prototypes)


def transformer_to_published(model: EmageTransformer, prototypes: State | None = None) -> dict[str, Tensor]:
    """The state that the published program would have saved and can read.

    Args:
        model: The transformer, one that hears audio only.
        prototypes: The unused layers; by default, the first layers that were cloned from them.
    """
    state = _table(model.config.num_motion_stages).to_published(model.state_dict())
    if prototypes is None:
        prototypes = {
            prototype + key.removeprefix(clone): value.clone()
            for prototype, clone in _PROTOTYPES.items()
            for key, value in state.items()
            if key.startswith(clone)
        }
    return {**state, **prototypes, _POSITIONS: _positions(model.config)}


def transformer_to_published_config(config: EmageConfig) -> dict[str, Any]:
    """The fields of the ``config.json`` that the published program would have saved, in their order.

    Fields that nothing reads have their published values.
    """
    weights = {f"c{part[0]}": int(part in config.code_parts) for part in EmageParts._fields}
    weights |= {f"l{part[0]}": 3 * (part in config.code_parts + config.latent_parts) for part in EmageParts._fields}
    fields = {
        **weights,
        "architectures": ["EmageAudioModel"],
        "audio_f": config.audio_dim,
        "audio_fps": 16000,
        "audio_norm": False,
        "audio_rep": "wave16k",
        "audio_sr": 16000,
        "class_name": "EmageAudioModel",
        "hidden_size": config.hidden_dim,
        "joint_mask": None,
        "model_type": "emage_audio",
        "motion_f": config.motion_latent_dim,
        "name_pyfile": "models.emage_audio.modeling_emage_audio",
        "pose_dims": config.motion_dim - 7,
        "pose_fps": 30,
        "pose_length": config.window_frames,
        "pose_rep": "smplx",
        "seed_frames": config.seed_frames,
        "speaker_dims": config.num_speakers,
        "speaker_f": config.hidden_dim,
        "stride": 20,
        "test_length": config.window_frames,
        "torch_dtype": "float32",
        "transformers_version": "4.30.2",
        "vae_codebook_size": config.num_codes,
    }
    return dict(sorted(fields.items()))


def _positions(config: EmageConfig) -> Tensor:
    """The published table: two periods of positions."""
    encode = PeriodicPositionalEncoding(config.hidden_dim, config.window_frames)
    table: Tensor = encode(torch.zeros(1, 2 * config.window_frames, config.hidden_dim))
    return table


def _stack(layer_keys: Callable[[str, str], list[Key]], published: str, ours: str) -> list[Key]:
    return layer_keys(f"{published}.layers.{{i}}", f"{ours}.{{i}}")


def _mlp(published: str, ours: str) -> list[Key]:
    return two_layer_keys(published, ours, names=("fc1", "fc2"))


def _part(part: str) -> list[Key]:
    return [
        *_mlp(f"motion2latent_{part}", f"to_part.{part}"),
        *_stack(decoder_layer_keys, f"body_motion_decoder_{part}", f"part_decoder.{part}"),
        Key(f"motion_out_proj_{part}.{{p}}", f"part_head.{part}.latents.{{p}}"),
        *_mlp(f"motion_cls_{part}", f"part_head.{part}.logits"),
    ]


WAVE_ENCODER = KeyTable(
    [
        Key(f"feat_extractor.{{i}}.{published}.{{p}}", f"blocks.{{i}}.{ours}.{{p}}")
        for published, ours in {
            "conv1": "first.0",
            "bn1": "first.1",
            "conv2": "second.0",
            "bn2": "second.1",
            "downsample.0": "shortcut.0",
            "downsample.1": "shortcut.1",
        }.items()
    ]
)
"""The waveform encoder of EMAGE, CaMN and DisCo."""


def _table(num_motion_stages: int) -> KeyTable:
    return KeyTable(
        [
            Key("mask_embedding", "mask_embedding"),
            *encoder_keys("motion_encoder", "motion_encoder", num_motion_stages),
            *WAVE_ENCODER.within("audio_encoder_face.", "face_speech.wave."),
            Key("speaker_embedding_face.weight", "face_speaker.weight"),
            *_mlp("bodyhints_face", "face_hints"),
            Key("audio_face_motion_proj.{p}", "face_memory.{p}"),
            *_stack(decoder_layer_keys, "face_motion_decoder", "face_decoder"),
            Key("face_out_proj.{p}", "face_head.latents.{p}"),
            *_mlp("face_cls", "face_head.logits"),
            *WAVE_ENCODER.within("audio_encoder_body.", "body_speech.wave."),
            Key("speaker_embedding_body.weight", "body_speaker.weight"),
            *_mlp("bodyhints_body", "body_hints"),
            Key("moton_proj.{p}", "body_in.{p}"),  # spelled so
            *_stack(encoder_layer_keys, "motion_self_encoder", "body_encoder"),
            Key("audio_body_motion_proj.{p}", "body_memory.{p}"),
            *_stack(decoder_layer_keys, "audio_motion_cross_attn", "audio_decoder"),
            *(rule for part in ("upper", "hands", "lower") for rule in _part(part)),
        ]
    )
