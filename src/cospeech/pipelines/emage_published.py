"""EMAGE's published checkpoints: where their parts lie, reading them, writing them so that the published program reads.

The repository holds the transformer at its root and the five motion networks in ``emage_vq/<part>``. The five ``.bin``
files of the earlier repository ``H-Liu1997/EMAGE`` (in ``pretrained_vq``) hold the same networks; its transformers are
others and do not load.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub import CONFIG_FILE, load_published, read_json
from cospeech.hub.convert.emage import (
    transformer_from_published,
    transformer_to_published,
    transformer_to_published_config,
)
from cospeech.hub.convert.emage_vqvae import (
    global_motion_from_published,
    global_motion_to_published,
    vqvae_from_published,
    vqvae_to_published,
    vqvae_to_published_config,
)
from cospeech.hub.published import naming_part, published_weights, resolve_published, save_published
from cospeech.models import EmageGlobalMotion, EmageMotionCodec, EmageParts, EmageTransformer, EmageVQVAE
from cospeech.representations import emage_matrix_to_axis_angle

__all__ = [
    "EMAGE_REPOSITORY",
    "PublishedEmage",
    "load_published_emage",
    "load_published_emage_codec",
    "make_emage_codec",
    "save_published_emage",
]

EMAGE_REPOSITORY = "H-Liu1997/emage_audio"
"""Where the published weights lie on the Hugging Face Hub."""

_FOLDERS = {name: f"emage_vq/{name}" for name in (*EmageParts._fields, "global")}
_LEGACY_FILES = {
    "face": "pretrained_vq/last_790_face_v2.bin",
    "upper": "pretrained_vq/upper_vertex_1layer_710.bin",
    "hands": "pretrained_vq/hands_vertex_1layer_710.bin",
    "lower": "pretrained_vq/lower_foot_600.bin",
    "global": "pretrained_vq/last_1700_foot.bin",
}


class PublishedEmage(NamedTuple):
    """What a published repository holds.

    Attributes:
        transformer: Speech and hints to codes.
        codec: Codes to motion.
        prototypes: Layers in the file that nothing uses, by their published keys.
    """

    transformer: EmageTransformer
    codec: EmageMotionCodec
    prototypes: dict[str, Tensor]


def load_published_emage(
    source: str | os.PathLike[str] = EMAGE_REPOSITORY, *, revision: str | None = None
) -> PublishedEmage:
    """All networks of a published repository, in evaluation mode.

    Args:
        source: A folder laid out like the published repository, or a repository on the Hub.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelNotFoundError: If there is no such folder or repository.
        CheckpointError: If a part is missing or does not fit; it is named, and every key at fault is listed.
    """
    folder = resolve_published(source, parts=("", *_FOLDERS.values()), revision=revision)
    codec = _load_codec(folder)
    path = published_weights(folder)
    fields = read_json(folder / CONFIG_FILE)
    with naming_part(path):
        transformer, prototypes = transformer_from_published(load_published(path), fields, copy=False)
    return PublishedEmage(transformer, codec, prototypes)


def load_published_emage_codec(
    source: str | os.PathLike[str] = EMAGE_REPOSITORY, *, revision: str | None = None
) -> EmageMotionCodec:
    """The motion networks alone; also from a folder with the earlier repository's ``pretrained_vq``.

    Raises:
        ModelNotFoundError: If there is no such folder or repository.
        CheckpointError: As for ``load_published_emage``.
    """
    return _load_codec(resolve_published(source, parts=tuple(_FOLDERS.values()), revision=revision))


def save_published_emage(
    transformer: EmageTransformer,
    codec: EmageMotionCodec,
    folder: str | os.PathLike[str],
    *,
    prototypes: Mapping[str, Tensor] | None = None,
    safetensors: bool = False,
) -> None:
    """Write a folder that the published program reads.

    Args:
        transformer: One that hears audio only.
        codec: The motion networks.
        folder: Where to; made if missing.
        prototypes: The unused layers that were read; by default they are made anew, since that program wants them.
        safetensors: Whether to write ``model.safetensors``, which it also reads, rather than its pickles.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    folder = Path(folder)
    for part in EmageParts._fields:
        network = codec.vqvae(part)
        config = vqvae_to_published_config(network)
        save_published(vqvae_to_published(network), config, folder / _FOLDERS[part], safetensors=safetensors)
    config = vqvae_to_published_config(codec.global_motion)
    state = global_motion_to_published(codec.global_motion)
    save_published(state, config, folder / _FOLDERS["global"], safetensors=safetensors)
    state, config = (
        transformer_to_published(transformer, prototypes),
        transformer_to_published_config(transformer.config),
    )
    save_published(state, config, folder, safetensors=safetensors)


def make_emage_codec(networks: Mapping[str, EmageVQVAE], global_motion: EmageGlobalMotion) -> EmageMotionCodec:
    """Motion networks as the published program joins them, its conversion of rotations included."""
    return EmageMotionCodec(
        **networks, global_motion=global_motion, matrix_to_axis_angle=emage_matrix_to_axis_angle
    ).eval()


def _load_codec(folder: Path) -> EmageMotionCodec:
    networks = {}
    for part in EmageParts._fields:
        path = _motion_weights(folder, part)
        with naming_part(path):
            networks[part] = vqvae_from_published(load_published(path), copy=False)
    path = _motion_weights(folder, "global")
    with naming_part(path):
        global_motion = global_motion_from_published(load_published(path), copy=False)
        return make_emage_codec(networks, global_motion)


def _motion_weights(folder: Path, part: str) -> Path:
    legacy = folder / _LEGACY_FILES[part]
    if legacy.is_file():
        return legacy
    try:
        return published_weights(folder, _FOLDERS[part])
    except CheckpointError as error:
        raise CheckpointError(f"The part {part!r} is missing: {error}") from error
