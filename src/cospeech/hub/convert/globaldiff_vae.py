"""Published weights of GlobalDiff's masked VAEs and of the evaluation autoencoder: key tables and loading."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub.convert._table import Constant, Key, KeyTable
from cospeech.models.evaluators import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.models.masked_vae import MaskedVAE, MaskedVAEConfig
from cospeech.nn import inverse_frequencies

__all__ = [
    "masked_vae_config",
    "masked_vae_from_published",
    "masked_vae_table",
    "masked_vae_to_published",
    "skeleton_autoencoder_from_published",
    "skeleton_autoencoder_table",
    "skeleton_autoencoder_to_published",
]

ModelT = TypeVar("ModelT", bound=nn.Module)
State = Mapping[str, Tensor]

_LAYER_KEYS = [
    Key("self_attn.in_proj_{p}", "self_attention.query.{p}", "self_attention.key_value.{p}"),
    Key("self_attn.out_proj.{p}", "self_attention.out.{p}"),
    Key("linear1.{p}", "feedforward.expand.{p}"),
    Key("linear2.{p}", "feedforward.contract.{p}"),
    Key("norm1.{p}", "self_norm.{p}"),
    Key("norm2.{p}", "feedforward_norm.{p}"),
]
_BLOCK_KEYS = [
    Key("bn1.{p}", "first_norm.{p}"),
    Key("conv1.{p}", "first_conv.{p}"),
    Key("bn2.{p}", "second_norm.{p}"),
    Key("conv2.{p}", "second_conv.{p}"),
]


def masked_vae_table(config: MaskedVAEConfig) -> KeyTable:
    """``MaskedVAE2``, ``MaskedVAE3`` and their like; the numbers of the residual blocks count the pooling layers."""
    rules: list[Key | Constant] = [Key("mask_val", "masked_frame"), Key("in_prj.{p}", "project.{p}")]
    for name, ours in (("E", "encoder"), ("D", "decoder")):
        first = 0 if name == "E" else 1  # the decoder's stages begin with their upsampling
        rules += [
            Key(f"{name}.in_prj.{{p}}", f"{ours}.project.{{p}}"),
            Constant(f"{name}.pe.penc.inv_freq", lambda state: inverse_frequencies(state["project.weight"].shape[0])),
            Key(f"{name}.out_prj.{{p}}", f"{ours}.head.{{p}}"),
            *KeyTable(_LAYER_KEYS).within(f"{name}.encoders.layers.{{i}}.", f"{ours}.layers.{{i}}."),
        ]
        for stage, count in enumerate(config.stage_blocks):
            for block in range(count):
                rules += KeyTable(_BLOCK_KEYS).within(
                    f"{name}.resnets.{first + block}.", f"{ours}.stages.{stage}.{block}."
                )
            first += count + 1
    return KeyTable(rules)


def masked_vae_config(state: State, *, num_heads: int = 8) -> MaskedVAEConfig:
    """The configuration that a published masked VAE was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, motion_dim = _shape(state, "in_prj.weight")
    blocks = sorted({int(key.split(".")[2]) for key in state if key.startswith("E.resnets.")})
    # A number that is left out is a pooling layer, and with it the end of a stage.
    ends = [i for i, block in enumerate(blocks, start=1) if block + 1 not in blocks]
    return MaskedVAEConfig(
        motion_dim=motion_dim,
        hidden_dim=hidden_dim,
        latent_dim=_shape(state, "D.in_prj.weight")[1],
        stage_blocks=tuple(end - start for start, end in zip([0, *ends], ends, strict=False)),
        num_layers=len({key.split(".")[3] for key in state if key.startswith("E.encoders.layers.")}),
        num_heads=num_heads,
        feedforward_dim=_shape(state, "E.encoders.layers.0.linear1.weight")[0],
    )


def masked_vae_from_published(state: State, config: MaskedVAEConfig | None = None) -> MaskedVAE:
    """A masked VAE in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published``.
        config: Its configuration; by default ``masked_vae_config(state)``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = config or masked_vae_config(state)
    return _load(MaskedVAE(config), masked_vae_table(config), state)


def masked_vae_to_published(vae: MaskedVAE) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return masked_vae_table(vae.config).to_published(vae.state_dict())


def skeleton_autoencoder_table(model: SkeletonAutoencoder) -> KeyTable:
    """``VAESKConv``. Its masks and pooling matrices follow from the skeleton; they are compared, not loaded."""
    rules: list[Key | Constant] = [
        Key("encoder.layers.{i}.0.residual.0.{p}", "layers.{i}.residual.{p}"),
        Key("encoder.layers.{i}.0.residual.1.{p}", "layers.{i}.norm.{p}"),
        Key("encoder.layers.{i}.0.shortcut.{p}", "layers.{i}.shortcut.{p}"),
        Key("fc_mu.{p}", "mean.{p}"),
        Key("fc_logvar.{p}", "log_variance.{p}"),
    ]
    buffers = dict(model.named_buffers())
    for i, level in enumerate(model.levels):
        names = {"residual.mask": "residual.0.mask", "shortcut.mask": "shortcut.mask"}
        if level.pools:
            names["pooling"] = "common.0.weight"
        rules += [
            Constant(f"encoder.layers.{i}.0.{published}", partial(_buffer, buffers[f"layers.{i}.{ours}"]))
            for ours, published in names.items()
        ]
    for i in range(len(model.residuals)):
        rules += [
            Key(f"decoder.main.{i}.model.0.{{p}}", f"residuals.{i}.expand.{{p}}"),
            Key(f"decoder.main.{i}.model.2.{{p}}", f"residuals.{i}.contract.{{p}}"),
        ]
    first = len(model.residuals) + 1  # behind an upsampling; an activation and the next one follow
    rules += [Key(f"decoder.main.{first + 3 * i}.{{p}}", f"upsampling.{i}.{{p}}") for i in range(len(model.upsampling))]
    rules.append(Key(f"decoder.main.{first + 3 * len(model.upsampling) - 1}.{{p}}", "out.{p}"))
    return KeyTable(rules)


def skeleton_autoencoder_from_published(
    state: State, config: SkeletonAutoencoderConfig | None = None
) -> SkeletonAutoencoder:
    """The evaluation autoencoder in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published("AESKConv_240_100.bin")``.
        config: Its configuration; by default that of this checkpoint.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    model = SkeletonAutoencoder(config or SkeletonAutoencoderConfig())
    return _load(model, skeleton_autoencoder_table(model), state)


def skeleton_autoencoder_to_published(model: SkeletonAutoencoder) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return skeleton_autoencoder_table(model).to_published(model.state_dict())


def _buffer(value: Tensor, state: State) -> Tensor:
    return value.cpu()


def _load(model: ModelT, table: KeyTable, state: State) -> ModelT:
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(table.to_ours(state, shapes))
    return model.eval()


def _shape(state: State, key: str) -> torch.Size:
    if key not in state:
        raise CheckpointError(f"These are not the published weights: {key} is missing.")
    return state[key].shape
