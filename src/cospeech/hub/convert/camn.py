"""The published weights of CaMN and DisCo: key tables, sizes read from shapes, loading and writing back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cospeech.hub.convert._blocks import count_layers, load_published_into, shape_of, two_layer_keys
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.hub.convert.emage import WAVE_ENCODER
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel

__all__ = [
    "CAMN",
    "DISCO",
    "camn_config",
    "camn_from_published",
    "camn_to_published",
    "camn_to_published_config",
    "disco_config",
    "disco_from_published",
    "disco_to_published",
    "disco_to_published_config",
]

State = Mapping[str, Tensor]


def _mlp(published: str, ours: str) -> list[Key]:
    return two_layer_keys(published, ours, names=("fc1", "fc2"))


_COMMON = [
    *WAVE_ENCODER.within("audio_encoder.", "wave."),
    Key("speaker_embedding.weight", "speaker.weight"),
]

CAMN = KeyTable(
    [
        *_COMMON,
        Key("body_motion_decoder.{p}", "body.lstm.{p}"),
        *_mlp("body_out", "body_out"),
        Key("hands_motion_decoder.{p}", "hands.lstm.{p}"),
        *_mlp("hands_out", "hands_out"),
    ]
)
"""``CamnAudioModel``."""

DISCO = KeyTable(
    [
        *_COMMON,
        *_mlp("audio_encoder_c1", "contents.0"),
        *_mlp("audio_encoder_c2", "contents.1"),
        *_mlp("audio_encoder_r", "rhythm"),
        *_mlp("selector", "choice"),
        Key("body_motion_decoder.{p}", "motion.lstm.{p}"),
        *_mlp("body_out", "motion_out"),
    ]
)
"""``DiscoAudioModel``."""


def camn_config(state: State, *, seed_frames: int = 4) -> CamnConfig:
    """The sizes of a published CaMN, read from its shapes, which do not tell the number of seed frames.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    num_speakers, speaker_dim = shape_of(state, "speaker_embedding.weight")
    return CamnConfig(
        body_dim=shape_of(state, "body_out.fc2.weight")[0],
        hands_dim=shape_of(state, "hands_out.fc2.weight")[0],
        audio_dim=shape_of(state, "audio_encoder.feat_extractor.5.conv1.weight")[0],
        speaker_dim=speaker_dim,
        num_speakers=num_speakers,
        hidden_dim=shape_of(state, "body_motion_decoder.weight_hh_l0")[1],
        num_layers=_num_lstm_layers(state),
        seed_frames=seed_frames,
    )


def camn_from_published(state: State, *, seed_frames: int = 4) -> CamnModel:
    """CaMN in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = camn_config(state, seed_frames=seed_frames)
    return load_published_into(lambda: CamnModel(config), CAMN, state)


def camn_to_published(model: CamnModel) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return CAMN.to_published(model.state_dict())


def disco_config(state: State, *, seed_frames: int = 4) -> DiscoConfig:
    """The sizes of a published DisCo, read from its shapes, which do not tell the number of seed frames.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    num_speakers, speaker_dim = shape_of(state, "speaker_embedding.weight")
    return DiscoConfig(
        motion_dim=shape_of(state, "body_out.fc2.weight")[0],
        audio_dim=shape_of(state, "audio_encoder.feat_extractor.5.conv1.weight")[0],
        speaker_dim=speaker_dim,
        num_speakers=num_speakers,
        hidden_dim=shape_of(state, "body_motion_decoder.weight_hh_l0")[1],
        num_layers=_num_lstm_layers(state),
        seed_frames=seed_frames,
    )


def disco_from_published(state: State, *, seed_frames: int = 4) -> DiscoModel:
    """DisCo in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = disco_config(state, seed_frames=seed_frames)
    return load_published_into(lambda: DiscoModel(config), DISCO, state)


def disco_to_published(model: DiscoModel) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return DISCO.to_published(model.state_dict())


def camn_to_published_config(config: CamnConfig) -> dict[str, Any]:
    """The fields of the ``config.json`` beside the published weights; those that nothing reads as published."""
    fields = {**_shared_fields(config), "body_dims": config.body_dim, "hands_dims": config.hands_dim}
    return dict(sorted({**fields, "model_type": "camn_audio", "motion_dim": 256}.items()))


def disco_to_published_config(config: DiscoConfig) -> dict[str, Any]:
    """The fields of the ``config.json`` that the published program would have saved; see ``camn_to_published_config``.

    How the channels are shared out is not in our configuration; they are the published 78 and the rest.
    """
    fields = {
        **_shared_fields(config),
        "architectures": ["DiscoAudioModel"],
        "audio_fps": 16000,
        "audio_norm": False,
        "audio_rep": "wave16k",
        "body_dims": 78,
        "class_name": "DiscoAudioModel",
        "hands_dims": config.motion_dim - 78,
        "model_type": "disco_audio",
        "motion_f": 256,
        "name_pyfile": "models.disco_audio.modeling_disco_audio",
        "torch_dtype": "float32",
        "transformers_version": "4.30.2",
    }
    return dict(sorted(fields.items()))


def _shared_fields(config: CamnConfig | DiscoConfig) -> dict[str, Any]:
    return {
        "audio_f": config.audio_dim,
        "audio_sr": 16000,
        "dropout_prob": config.dropout,
        "hidden_size": config.hidden_dim,
        "joint_mask": "local_upper",
        "n_layer": config.num_layers,
        "pose_dims": config.motion_dim,
        "pose_fps": 15,
        "pose_rep": "smplx",
        "seed_frames": config.seed_frames,
        "speaker_dims": config.num_speakers,
        "speaker_f": config.speaker_dim,
    }


def _num_lstm_layers(state: State) -> int:
    return count_layers(state, "body_motion_decoder.weight_hh_l") // 2  # one name for either direction
