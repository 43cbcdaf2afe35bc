"""Models without values: shapes only, for weights that are about to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["make_empty"]

ModelT = TypeVar("ModelT", bound=nn.Module)

_FILLS = {"uniform_", "normal_", "trunc_normal_", "zero_", "fill_"}


def make_empty(make: Callable[[], ModelT]) -> ModelT:
    """The model that ``make`` makes, its tensors on the meta device: no memory, no time, no random numbers.

    Example:
        >>> make_empty(lambda: nn.Linear(60_000, 60_000)).weight.shape
        torch.Size([60000, 60000])
    """
    with torch.device("meta"), _Unfilled():
        return make()


class _Unfilled(TorchFunctionMode):
    """Leaves out filling a tensor that holds nothing: the first meta ``uniform_`` of a process imports TorchDynamo."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        is_fill = getattr(func, "__name__", "") in _FILLS or getattr(func, "__module__", "") == "torch.nn.init"
        tensor = args[0] if args else kwargs.get("tensor")
        if is_fill and isinstance(tensor, torch.Tensor) and tensor.is_meta:
            return tensor
        return func(*args, **kwargs)
