"""The published weights of CaMN and DisCo: key tables, sizes read from shapes, loading and writing back."""

from __future__ import annotations

from collections.abc import Mapping

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
    "disco_config",
    "disco_from_published",
    "disco_to_published",
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


def _num_lstm_layers(state: State) -> int:
    return count_layers(state, "body_motion_decoder.weight_hh_l") // 2  # one name for either direction
