"""What the loop does to networks: mixed precision, compilation, layers computed twice to save memory.

All of it changes how a network runs and nothing of what it is: names of weights stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cospeech.training.task import Clock, Terms, TrainingTask

__all__ = ["LossStep", "checkpoint_layers", "repeated_layers", "run_in_precision"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class LossStep(nn.Module):
    """A task's losses as a module, so that an engine that wraps modules sees every call of the trained network."""

    def __init__(self, task: TrainingTask):
        super().__init__()
        self.model, self._task = task.model, task

    def forward(self, batch: Any, clock: Clock) -> Terms:
        """The terms of one pass; in evaluation mode, what the task measures."""
        compute = self._task.losses if self.training else self._task.measure
        return dict(compute(self.model, batch, clock))


def run_in_precision(network: nn.Module, precision: str, device: torch.device) -> None:
    """Let the network compute in half precision by autocast and answer in single; losses stay outside of it.

    Args:
        network: Changed in place.
        precision: "no", "bf16" or "fp16".
        device: Where it runs.
    """
    if precision == "no":
        return
    plain, dtype = network.forward, _DTYPES[precision]

    def forward(*inputs: Any, **options: Any) -> Any:
        with torch.autocast(device.type, dtype=dtype):
            outputs = plain(*inputs, **options)
        return _in_single(outputs)

    network.forward = forward


def repeated_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The members of each outermost ``nn.ModuleList`` of two or more."""
    for child in model.children():
        if isinstance(child, nn.ModuleList) and len(child) > 1:
            yield from child
        else:
            yield from repeated_layers(child)


def checkpoint_layers(model: nn.Module) -> int:
    """Compute the repeated layers of a model anew in the backward pass instead of keeping what they computed.

    Layers are the ``repeated_layers``. Those that hold batch norm are left as they are, since run twice they would
    count each batch twice; layers inside of them are not.

    Args:
        model: Changed in place.

    Returns:
        How many layers were changed.
    """
    count = 0
    for layer in list(repeated_layers(model)):
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in layer.modules()):
            count += checkpoint_layers(layer)
        else:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
            count += 1
    return count


def _in_single(outputs: Any) -> Any:
    """Half-precision tensors in single precision, wherever they are in tuples and dictionaries."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype in _DTYPES.values() else outputs
    if isinstance(outputs, tuple):
        found = [_in_single(x) for x in outputs]
        return type(outputs)(*found) if hasattr(outputs, "_fields") else tuple(found)
    if isinstance(outputs, dict):
        return {key: _in_single(value) for key, value in outputs.items()}
    return outputs
