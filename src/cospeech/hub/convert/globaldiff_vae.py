"""Published weights of GlobalDiff's masked VAEs and of the evaluation autoencoder: key tables and loading."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from cospeech.errors import CheckpointError
from cospeech.hub.convert._blocks import count_layers, encoder_layer_keys, load_published_into, shape_of
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

State = Mapping[str, Tensor]

_RESIDUAL_BLOCK = KeyTable(
    [
        Key("bn1.{p}", "first_norm.{p}"),
        Key("conv1.{p}", "first_conv.{p}"),
        Key("bn2.{p}", "second_norm.{p}"),
        Key("conv2.{p}", "second_conv.{p}"),
    ]
)


def masked_vae_table(config: MaskedVAEConfig) -> KeyTable:
    """``MaskedVAE2``, ``MaskedVAE3`` and their like; the numbers of the residual blocks count the pooling layers."""
    rules: list[Key | Constant] = [Key("mask_val", "masked_frame"), Key("in_prj.{p}", "project.{p}")]
    for name, ours in (("E", "encoder"), ("D", "decoder")):
        first = 0 if name == "E" else 1  # the decoder's stages begin with their upsampling
        rules += [
            Key(f"{name}.in_prj.{{p}}", f"{ours}.project.{{p}}"),
            Constant(f"{name}.pe.penc.inv_freq", lambda state: inverse_frequencies(state["project.weight"].shape[0])),
            Key(f"{name}.out_prj.{{p}}", f"{ours}.head.{{p}}"),
            *encoder_layer_keys(f"{name}.encoders.layers.{{i}}", f"{ours}.layers.{{i}}"),
        ]
        for stage, count in enumerate(config.stage_blocks):
            for block in range(count):
                published = f"{name}.resnets.{first + block}."
                rules += _RESIDUAL_BLOCK.within(published, f"{ours}.stages.{stage}.{block}.")
            first += count + 1
    return KeyTable(rules)


def masked_vae_config(state: State, *, num_heads: int = 8) -> MaskedVAEConfig:
    """The configuration that a published masked VAE was made with.

    Raises:
        CheckpointError: If a tensor that tells a size is missing, or blocks are not numbered.
    """
    hidden_dim, motion_dim = shape_of(state, "in_prj.weight")
    numbers = {key.split(".")[2] for key in state if key.startswith("E.resnets.")}
    if not numbers or not all(number.isdecimal() for number in numbers):
        raise CheckpointError("These are not the published weights: E.resnets has no numbered blocks.")
    blocks = sorted(map(int, numbers))
    # A number that is left out is a pooling layer, and with it the end of a stage.
    ends = [i for i, block in enumerate(blocks, start=1) if block + 1 not in blocks]
    return MaskedVAEConfig(
        motion_dim=motion_dim,
        hidden_dim=hidden_dim,
        latent_dim=shape_of(state, "D.in_prj.weight")[1],
        stage_blocks=tuple(end - start for start, end in zip([0, *ends], ends, strict=False)),
        num_layers=count_layers(state, "E.encoders.layers."),
        num_heads=num_heads,
        feedforward_dim=shape_of(state, "E.encoders.layers.0.linear1.weight")[0],
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
    return load_published_into(partial(MaskedVAE, config), masked_vae_table(config), state)


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
    make = partial(SkeletonAutoencoder, config or SkeletonAutoencoderConfig())
    return load_published_into(make, skeleton_autoencoder_table(make()), state)


def skeleton_autoencoder_to_published(model: SkeletonAutoencoder) -> dict[str, Tensor]:
    """The state that the published program would have saved."""
    return skeleton_autoencoder_table(model).to_published(model.state_dict())


def _buffer(value: Tensor, state: State) -> Tensor:
    return value.cpu()
