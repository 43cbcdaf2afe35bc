"""The published weights of EMAGE's motion networks: key tables, sizes read from shapes, loading and writing back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cospeech.hub.convert._blocks import load_published_into, shape_of
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.models import EmageGlobalMotion, EmageVQVAE, EmageVQVAEConfig

__all__ = [
    "encoder_keys",
    "global_motion_from_published",
    "global_motion_to_published",
    "vqvae_config",
    "vqvae_from_published",
    "vqvae_to_published",
    "vqvae_to_published_config",
]

State = Mapping[str, Tensor]


def vqvae_config(state: State) -> EmageVQVAEConfig:
    """The sizes of a published VQ-VAE or global motion network, read from its shapes.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    latent_dim, motion_dim, _ = shape_of(state, "encoder.main.0.weight")
    num_codes = {"num_codes": len(state[_CODEBOOK])} if _CODEBOOK in state else {}
    num_stages = sum(key.startswith("encoder.main.") and key.endswith(".model.0.weight") for key in state)
    return EmageVQVAEConfig(motion_dim=motion_dim, num_stages=num_stages, latent_dim=latent_dim, **num_codes)


def vqvae_from_published(state: State, *, copy: bool = True) -> EmageVQVAE:
    """A part's VQ-VAE in evaluation mode, with the published weights.

    Args:
        state: Published keys and tensors.
        copy: Whether the weights are copied; without, the model takes over the memory of a state that is used up.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return load_published_into(lambda: EmageVQVAE(config), _table(config.num_stages), state, copy=copy)


def vqvae_to_published(vqvae: EmageVQVAE) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _table(vqvae.config.num_stages).to_published(vqvae.state_dict())


def global_motion_from_published(state: State, *, copy: bool = True) -> EmageGlobalMotion:
    """The global motion network in evaluation mode, with the published weights; arguments as for a VQ-VAE.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return load_published_into(lambda: EmageGlobalMotion(config), _table(config.num_stages), state, copy=copy)


def global_motion_to_published(network: EmageGlobalMotion) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _table(network.config.num_stages).to_published(network.state_dict())


def vqvae_to_published_config(network: EmageVQVAE | EmageGlobalMotion) -> dict[str, Any]:
    """The fields of the ``config.json`` that the published program would have saved, in their order.

    Fields that nothing reads have their published values.
    """
    config, is_vqvae = network.config, isinstance(network, EmageVQVAE)
    fields = {
        "architectures": ["EmageVQVAEConv" if is_vqvae else "EmageVAEConv"],
        "class_name": "EmageVQVAEConv" if is_vqvae else "EmageVAEConv",
        "model_type": "emage_vqvaeconv" if is_vqvae else "emage_vaeconv",
        "name_pyfile": "models.emage_audio.modeling_emage_audio",
        "pose_dims": config.motion_dim,
        "pose_fps": 30,
        "pose_length": 64,
        "stride": 20,
        "torch_dtype": "float32",
        "transformers_version": "4.30.2",
        "vae_codebook_size": config.num_codes,
        "vae_grow": [1, 1, 2, 1],
        "vae_layer": config.num_stages,
        "vae_length": config.latent_dim,
        "vae_quantizer_lambda": 1.0,
        "vae_test_dim": config.motion_dim,
        "vae_test_len": 64,
        "vae_test_stride": 20,
        "variational": False,
    }
    return dict(sorted(fields.items()))


def encoder_keys(published: str, ours: str, num_stages: int) -> list[Key]:
    """The rules of a temporal encoder."""
    convs = [Key(f"{published}.main.{3 * i}.{{p}}", f"{ours}.convs.{i}.{{p}}") for i in range(num_stages)]
    residuals = (_residual(f"{published}.main.{3 * i + 2}", f"{ours}.residuals.{i}") for i in range(num_stages))
    return convs + [rule for rules in residuals for rule in rules]


_CODEBOOK = "quantizer.embedding.weight"


def _table(num_stages: int) -> KeyTable:
    residuals = (_residual(f"decoder.main.{i}", f"decoder.residuals.{i}") for i in range(2))
    return KeyTable(
        [
            *encoder_keys("encoder", "encoder", num_stages),
            Key(_CODEBOOK, "quantizer.codebook"),
            *(rule for rules in residuals for rule in rules),
            *(Key(f"decoder.main.{2 + 2 * i}.{{p}}", f"decoder.convs.{i}.{{p}}") for i in range(num_stages)),
            Key(f"decoder.main.{2 + 2 * num_stages}.{{p}}", "decoder.out.{p}"),
        ]
    )


def _residual(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.model.0.{{p}}", f"{ours}.expand.{{p}}"),
        Key(f"{published}.model.2.{{p}}", f"{ours}.contract.{{p}}"),
    ]
