"""The published weights of EMAGE's motion networks: key tables, sizes read from shapes, loading and writing back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.models import EmageGlobalMotion, EmageVQVAE, EmageVQVAEConfig

__all__ = [
    "encoder_keys",
    "global_motion_from_published",
    "global_motion_to_published",
    "load",
    "shape_of",
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
    latent_dim, motion_dim, _ = shape_of(state, "encoder.main.0.weight")
    num_codes = {"num_codes": len(state[_CODEBOOK])} if _CODEBOOK in state else {}
    num_stages = sum(key.startswith("encoder.main.") and key.endswith(".model.0.weight") for key in state)
    return EmageVQVAEConfig(motion_dim=motion_dim, num_stages=num_stages, latent_dim=latent_dim, **num_codes)


def vqvae_from_published(state: State) -> EmageVQVAE:
    """A part's VQ-VAE in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return load(lambda: EmageVQVAE(config), _table(config.num_stages), state)


def vqvae_to_published(vqvae: EmageVQVAE) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _table(vqvae.config.num_stages).to_published(vqvae.state_dict())


def global_motion_from_published(state: State) -> EmageGlobalMotion:
    """The global motion network in evaluation mode, with the published weights.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = vqvae_config(state)
    return load(lambda: EmageGlobalMotion(config), _table(config.num_stages), state)


def global_motion_to_published(network: EmageGlobalMotion) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return _table(network.config.num_stages).to_published(network.state_dict())


def encoder_keys(published: str, ours: str, num_stages: int) -> list[Key]:
    """The rules of a temporal encoder."""
    convs = [Key(f"{published}.main.{3 * i}.{{p}}", f"{ours}.convs.{i}.{{p}}") for i in range(num_stages)]
    residuals = (_residual(f"{published}.main.{3 * i + 2}", f"{ours}.residuals.{i}") for i in range(num_stages))
    return convs + [rule for rules in residuals for rule in rules]


def load(make: Callable[[], ModelT], table: KeyTable, state: State) -> ModelT:
    """The model that ``make`` makes, in evaluation mode, with published weights; those are copied.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    with torch.device("meta"):
        model = make()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: value.clone() for key, value in table.to_ours(state, shapes).items()}, assign=True)
    return model.eval()


def shape_of(state: State, key: str) -> torch.Size:
    """The shape of a tensor that must be there.

    Raises:
        CheckpointError: If it is not.
    """
    if key not in state:
        raise CheckpointError(f"These are not the published weights: {key} is missing.")
    return state[key].shape


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
