"""What the key tables of several systems share: torch's own layers, sizes from shapes, filling a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from cospeech.errors import CheckpointError
from cospeech.hub._empty import make_empty
from cospeech.hub.convert._table import Key, KeyTable

__all__ = [
    "attention_keys",
    "count_layers",
    "decoder_layer_keys",
    "encoder_layer_keys",
    "load_published_into",
    "shape_of",
    "two_layer_keys",
]

ModelT = TypeVar("ModelT", bound=nn.Module)


def attention_keys(published: str, ours: str) -> list[Key]:
    """``nn.MultiheadAttention`` to ``MultiHeadAttention``."""
    return [
        Key(f"{published}.in_proj_{{p}}", f"{ours}.query.{{p}}", f"{ours}.key_value.{{p}}"),
        Key(f"{published}.out_proj.{{p}}", f"{ours}.out.{{p}}"),
    ]


def two_layer_keys(published: str, ours: str, *, names: tuple[str, str] = ("0", "2")) -> list[Key]:
    """Two linear layers, for example at 0 and 2 of an ``nn.Sequential``, to ``FeedForward``."""
    return [
        Key(f"{published}.{name}.{{p}}", f"{ours}.{ours_name}.{{p}}")
        for name, ours_name in zip(names, ("expand", "contract"), strict=True)
    ]


def encoder_layer_keys(published: str, ours: str) -> list[Key]:
    """``nn.TransformerEncoderLayer`` to ``TransformerEncoderLayer``."""
    return [
        *attention_keys(f"{published}.self_attn", f"{ours}.self_attention"),
        *two_layer_keys(published, f"{ours}.feedforward", names=("linear1", "linear2")),
        Key(f"{published}.norm1.{{p}}", f"{ours}.self_norm.{{p}}"),
        Key(f"{published}.norm2.{{p}}", f"{ours}.feedforward_norm.{{p}}"),
    ]


def decoder_layer_keys(published: str, ours: str) -> list[Key]:
    """``nn.TransformerDecoderLayer`` to ``TransformerDecoderLayer``."""
    return [
        *attention_keys(f"{published}.self_attn", f"{ours}.self_attention"),
        *attention_keys(f"{published}.multihead_attn", f"{ours}.cross_attention"),
        *two_layer_keys(published, f"{ours}.feedforward", names=("linear1", "linear2")),
        Key(f"{published}.norm1.{{p}}", f"{ours}.self_norm.{{p}}"),
        Key(f"{published}.norm2.{{p}}", f"{ours}.cross_norm.{{p}}"),
        Key(f"{published}.norm3.{{p}}", f"{ours}.feedforward_norm.{{p}}"),
    ]


def load_published_into(
    make: Callable[[], ModelT], table: KeyTable, state: Mapping[str, Tensor], *, copy: bool = True
) -> ModelT:
    """The model that ``make`` makes, in evaluation mode, with the published weights.

    Args:
        make: Makes a model; it is not filled with values.
        table: Of its keys.
        state: Published keys and tensors.
        copy: Whether to copy the weights. Without, the model takes over the memory of a state that nobody else uses,
            such as one fresh from ``load_published``.

    Raises:
        CheckpointError: If the weights do not fit; every key at fault is listed.
    """
    model = make_empty(make)
    wanted = model.state_dict()
    converted = table.to_ours(state, {key: tensor.shape for key, tensor in wanted.items()})
    weights = {key: tensor.to(wanted[key].dtype, copy=copy) for key, tensor in converted.items()}
    model.load_state_dict(weights, assign=True)
    return model.eval()


def shape_of(state: Mapping[str, Tensor], key: str) -> torch.Size:
    """The shape of a tensor that must be there.

    Raises:
        CheckpointError: If it is not.
    """
    if key not in state:
        raise CheckpointError(f"These are not the published weights: {key} is missing.")
    return state[key].shape


def count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different components follow ``prefix`` in the keys.

    Example:
        >>> count_layers(dict.fromkeys(["net.0.weight", "net.0.bias", "net.1.weight"]), "net.")
        2
    """
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
