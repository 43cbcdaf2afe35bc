"""Modules of one form, side by side as one: half the calls, and products that keep all threads busy.

Their inputs are joined along the batch axis: first the batch of the first module, then that of the second, and so on.
For inference: the weights are copies, laid out for the product, without gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

__all__ = ["StackedLinear", "stack_modules"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class StackedLinear(nn.Module):
    """Several ``nn.Linear`` of one shape, each applied to its part of the batch.

    Example:
        >>> first, second = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> x, y = torch.randn(4, 5, 3), torch.randn(4, 5, 3)
        >>> both = StackedLinear([first, second])(torch.cat([x, y]))
        >>> torch.allclose(both, torch.cat([first(x), second(y)]), atol=1e-6)
        True
    """

    bias: Tensor
    weight: Tensor

    def __init__(self, linears: Sequence[nn.Linear]):
        super().__init__()
        # (N, in, out): the order in which a product reads the weights of a few rows fastest.
        weight = torch.stack([linear.weight.detach().t() for linear in linears])
        no_bias = weight.new_zeros(weight.shape[-1])
        biases: list[Tensor] = [no_bias if linear.bias is None else linear.bias for linear in linears]
        self.register_buffer("weight", weight)
        self.register_buffer("bias", torch.stack(biases).detach().unsqueeze(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N B, ..., C)`` to ``(N B, ..., C')``."""
        num_stacked, in_features, out_features = self.weight.shape
        y = torch.baddbmm(self.bias, x.reshape(num_stacked, -1, in_features), self.weight)
        return y.view(*x.shape[:-1], out_features)


def stack_modules(modules: Sequence[ModuleT]) -> ModuleT:
    """One module that treats each part of its batch as one of ``modules`` would.

    It is a copy of the first whose linear layers are stacked. What else it does must not look across the batch.

    Raises:
        ValueError: If the modules differ in form, or hold weights outside linear layers.
    """
    names = [[name for name, part in module.named_modules() if type(part) is nn.Linear] for module in modules]
    shapes = [[tuple(parameter.shape) for parameter in module.parameters()] for module in modules]
    if any(other != names[0] for other in names) or any(other != shapes[0] for other in shapes):
        raise ValueError("`modules` must have the same layers with the same shapes.")
    linears = {name: [cast(nn.Linear, module.get_submodule(name)) for module in modules] for name in names[0]}
    held = {id(parameter) for linear in linears.values() for parameter in linear[0].parameters()}
    loose = [name for name, parameter in modules[0].named_parameters() if id(parameter) not in held]
    if loose:
        raise ValueError(f"`modules` must hold weights in linear layers only; got {', '.join(loose)}.")
    memo: dict[int, object] = {id(linear[0]): StackedLinear(linear) for linear in linears.values()}
    return copy.deepcopy(modules[0], memo)
