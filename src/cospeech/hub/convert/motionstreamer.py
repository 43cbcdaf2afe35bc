"""MotionStreamer's published weights: key tables, sizes read from shapes, loading.

Three files: the causal autoencoder (``Causal_TAE/net_last.pth``, the state dict under ``net``), the autoregressive
model (``Experiments/t2m_model/latest.pth``, under ``trans``, with or without ``module.``) and the evaluator
(``Evaluator_272/epoch=99.ckpt``, on the page ``tmr``). ``cospeech.hub.load_published`` opens them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from cospeech.hub.convert._blocks import count_layers, load_published_into, shape_of
from cospeech.hub.convert._table import Key, KeyTable
from cospeech.models.causal_tae import CausalTAE, CausalTAEConfig

__all__ = ["causal_tae_config", "causal_tae_from_published", "causal_tae_table", "causal_tae_to_published"]


def causal_tae_table(config: CausalTAEConfig) -> KeyTable:
    """The rules of the autoencoder; where a stage stands depends on how many there are."""
    stages, residuals = range(config.num_stages), range(config.num_residuals)
    last = 2 + config.num_stages  # published index behind the stages
    end = 2 + config.num_stages * (config.num_residuals + 1)  # ours, on the way down
    end_up = 2 + config.num_stages * (config.num_residuals + 2)
    rules = [
        Key("tae.decode_proj.{p}", "decoder.project.{p}"),
        Key("tae.encoder.proj.{p}", "encoder.project.{p}"),
        *_conv("encoder", "0", 0),
        *_conv("encoder", f"{last}", end),
        *_conv("decoder", "0", 0),
        *_conv("decoder", f"{last}", end_up),
        *_conv("decoder", f"{last + 2}", end_up + 2),
    ]
    for i in stages:
        down, up = 2 + i * (config.num_residuals + 1), 2 + i * (config.num_residuals + 2)
        rules += _conv("encoder", f"{2 + i}.0", down)
        rules += _conv("decoder", f"{2 + i}.2", up + config.num_residuals + 1)
        for j in residuals:
            rules += _residual(f"tae.encoder.model.{2 + i}.1.model.{j}", f"encoder.network.layers.{down + 1 + j}")
            rules += _residual(f"tae.decoder.model.{2 + i}.0.model.{j}", f"decoder.network.layers.{up + j}")
    return KeyTable(rules)


def causal_tae_config(state: Mapping[str, Tensor]) -> CausalTAEConfig:
    """The configuration that a published autoencoder was made with; the dilation growth is taken as 3.

    Raises:
        CheckpointError: If a tensor that tells a size is missing.
    """
    hidden_dim, motion_dim, _ = shape_of(state, "tae.encoder.model.0.conv.weight")
    return CausalTAEConfig(
        motion_dim=motion_dim,
        hidden_dim=hidden_dim,
        latent_dim=shape_of(state, "tae.decode_proj.weight")[1],
        num_stages=count_layers(state, "tae.encoder.model.") - 2,
        num_residuals=count_layers(state, "tae.encoder.model.2.1.model."),
    )


def causal_tae_from_published(state: Mapping[str, Tensor], config: CausalTAEConfig | None = None) -> CausalTAE:
    """The autoencoder in evaluation mode, with the published weights.

    Args:
        state: A published state, for example from ``load_published``.
        config: Its configuration; by default ``causal_tae_config(state)``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    config = config or causal_tae_config(state)
    return load_published_into(partial(CausalTAE, config), causal_tae_table(config), state)


def causal_tae_to_published(tae: CausalTAE) -> dict[str, Tensor]:
    """The state that the published program would have saved under ``net``."""
    return causal_tae_table(tae.config).to_published(tae.state_dict())


def _conv(side: str, published: str, ours: int) -> list[Key]:
    return [Key(f"tae.{side}.model.{published}.conv.{{p}}", f"{side}.network.layers.{ours}.conv.{{p}}")]


def _residual(published: str, ours: str) -> list[Key]:
    return [
        Key(f"{published}.conv1.{{p}}", f"{ours}.dilated.conv.{{p}}"),
        Key(f"{published}.conv2.{{p}}", f"{ours}.mix.{{p}}"),
    ]
