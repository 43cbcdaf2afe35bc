"""EMAGE's published weights: key tables, sizes read from shapes and configuration, loading and writing back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.models import EmageGlobalMotion, EmageVQVAE, EmageVQVAEConfig

__all__ = [
    "global_motion_from_published",
    "global_motion_to_published",
    "vqvae_config",
    "vqvae_from_published",
    "vqvae_to_published",
]

ModelT = TypeVar("ModelT", bound=nn.Module)
State = Mapping[str, Tensor]


def vqvae_config(state: State) -> EmageVQVAEConfig:
    """The sizes of a published VQ-VAE or global motion network, read from its shapes.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    latent_dim, motion_dim, _ = _shape(state, "encoder.main.0.weight")
    codebook = state.get("quantizer.embedding.weight")
    num_stages = len([key for key in state if key.startswith("encoder.main.") and key.endswith(".model.0.weight")])
    return EmageVQVAEConfig(
        motion_dim=motion_dim,
        num_stages=num_stages,
        latent_dim=latent_dim,
        **({} if codebook is None else {"num_codes": len(codebook)}),
    )


def vqvae_from_published(state: State) -> EmageVQVAE:
    """A part's VQ-VAE in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return _load(EmageVQVAE(config), _vqvae_table(config.num_stages), state)


def vqvae_to_published(vqvae: EmageVQVAE) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _vqvae_table(vqvae.config.num_stages).to_published(vqvae.state_dict())


def global_motion_from_published(state: State) -> EmageGlobalMotion:
    """The global motion network in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return _load(EmageGlobalMotion(config), _vqvae_table(config.num_stages), state)


def global_motion_to_published(network: EmageGlobalMotion) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _vqvae_table(network.config.num_stages).to_published(network.state_dict())


def _vqvae_table(num_stages: int) -> KeyTable:
    decoder = [
        *(rule for i in range(2) for rule in _residual(f"decoder.main.{i}", f"decoder.residuals.{i}")),
        *(Key(f"decoder.main.{2 + 2 * i}.{{p}}", f"decoder.convs.{i}.{{p}}") for i in range(num_stages)),
        Key(f"decoder.main.{2 + 2 * num_stages}.{{p}}", "decoder.out.{p}"),
    ]
    return KeyTable(
        [*_encoder("encoder", "encoder", num_stages), Key("quantizer.embedding.weight", "quantizer.codebook"), *decoder]
    )


def _encoder(published: str, ours: str, num_stages: int) -> list[Key]:
    convs = [Key(f"{published}.main.{3 * i}.{{p}}", f"{ours}.convs.{i}.{{p}}") for i in range(num_stages)]
    residuals = (_residual(f"{published}.main.{3 * i + 2}", f"{ours}.residuals.{i}") for i in range(num_stages))
    return convs + [rule for rules in residuals for rule in rules]


def _residual(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.model.0.{{p}}", f"{ours}.expand.{{p}}"),
        Key(f"{published}.model.2.{{p}}", f"{ours}.contract.{{p}}"),
    ]


def _load(model: ModelT, table: KeyTable, state: State) -> ModelT:
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(table.to_ours(state, shapes))
    return model.eval()


def _shape(state: State, key: str) -> torch.Size:
    if key not in state:
        raise CheckpointError(f"These are not the published weights: {key} is missing.")
    return state[key].shape
