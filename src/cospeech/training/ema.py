"""The moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """``average = decay * average + (1 - decay) * weights``, the first steps averaged over fewer.

    Buffers, such as running means, are those of the model.

    Args:
        model: Whose weights; their places are kept, so do not replace its parameters.
        decay: Of one step, below 1; of step ``n`` at most ``(1 + n) / (10 + n)``.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> average = WeightAverage(model, decay=0.9)
        >>> with torch.no_grad():
        ...     _ = model.weight.fill_(1.0), average.weights["weight"].fill_(0.0)
        >>> average.update(step=0)
        >>> average.weights["weight"]
        tensor([[0.9000]])
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._live = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.weights: dict[str, Tensor] = {name: live.detach().clone() for name, live in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step ``step``, from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def apply(self) -> None:
        """The model has the averaged weights from now on."""
        for name, live in self._live.items():
            live.data.copy_(self.weights[name])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over what ``weights`` of another average held."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self._live.items():
            held = live.detach().clone()
            live.copy_(self.weights[name])
            self.weights[name].copy_(held)
