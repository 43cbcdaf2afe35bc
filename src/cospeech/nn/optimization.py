"""The fastest way this machine runs a module's linear layers, found by trying.

Which kernel wins depends on the processor (MKL is slow on AMD, bfloat16 is slow without matrix units), on the layer's
shape and on how many rows it sees, so every candidate is timed on the layer itself. Only candidates whose result was
compared with the plain layer are eligible; a candidate that this build of PyTorch lacks is passed over.

Some kernels have no public interface; they are reached through ``torch.ops``, the plain layer being their fallback.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "BFloat16Linear",
    "ColumnMajorLinear",
    "FixedRowsLinear",
    "Int8Linear",
    "PackedLinear",
    "Precision",
    "RowwiseInt8Linear",
    "is_optimized",
    "optimize",
    "shortest_times",
]

Precision = Literal["float32", "bfloat16", "int8"]
ModuleT = TypeVar("ModuleT", bound=nn.Module)

_TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 3e-2}  # relative error of one layer on normal input
_MOST_ROWS_ALONE = 4
_WORTH_IT = 0.95  # a kernel replaces the plain one only if it takes less than this share of its time


class _InferenceLinear(nn.Module):
    """A stand-in for one ``nn.Linear`` that keeps its weights in another form and has no gradient."""

    compilable = True  # torch.compile can look inside

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias: Tensor | None = None if linear.bias is None else linear.bias.detach()

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class ColumnMajorLinear(_InferenceLinear):
    """Float32 weights stored input by input, which some products of few rows read faster.

    Args:
        linear: The layer to stand in for.
        rows: Unused by this kernel; the kernels share one signature.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear)
        self.weight = linear.weight.detach().t().contiguous().t()

    def forward(self, x: Tensor) -> Tensor:
        """``F.linear`` without gradient."""
        return F.linear(x, self.weight, self.bias)


class PackedLinear(_InferenceLinear):
    """Float32 weights in oneDNN's blocked order, for any number of rows.

    Args:
        linear: The layer to stand in for, float32 on the CPU.
        rows: The number of rows to pack for; others work too.
    """

    compilable = False

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """``F.linear`` without gradient."""
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], ""))


class FixedRowsLinear(_InferenceLinear):
    """Float32 weights packed by MKL for one number of rows; any other number takes the plain way.

    Args:
        linear: The layer to stand in for, float32 on the CPU.
        rows: Product of the input's leading axes for which the packed weights serve.
    """

    compilable = False

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear)
        self.rows = rows
        self.plain_weight = linear.weight.detach()
        self.weight = torch.ops.mkl._mkl_reorder_linear_weight(self.plain_weight, rows)

    def forward(self, x: Tensor) -> Tensor:
        """``F.linear`` without gradient."""
        if x.numel() != self.rows * self.in_features:
            return F.linear(x, self.plain_weight, self.bias)
        return cast(Tensor, torch.ops.mkl._mkl_linear(x, self.weight, self.plain_weight, self.bias, self.rows))


class BFloat16Linear(_InferenceLinear):
    """Weights and input rounded to bfloat16 for the product; input and output keep their dtype.

    Args:
        linear: The layer to stand in for.
        rows: Unused by this kernel; the kernels share one signature.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear)
        self.weight = linear.weight.detach().bfloat16()
        self.bias = None if self.bias is None else self.bias.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """``F.linear`` without gradient, to about 3 digits."""
        return F.linear(x.bfloat16(), self.weight, self.bias).to(x.dtype)


class Int8Linear(_InferenceLinear):
    """Eight-bit weights, a scale for each output channel; eight-bit input, a scale for each row, taken as it comes.

    Args:
        linear: The layer to stand in for, on the CPU.
        rows: Unused by this kernel; the kernels share one signature.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear)
        weight = linear.weight.detach()
        scale = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp_min(torch.finfo(weight.dtype).tiny)
        # Output by output, as it was: read as its transpose that is up to twice as fast as input by input.
        self.weight = (weight / scale).round().to(torch.int8)
        self.scale = scale.flatten()

    def forward(self, x: Tensor) -> Tensor:
        """``F.linear`` without gradient, to about 2 digits."""
        flat = x.reshape(-1, self.in_features)
        scale = (flat.abs().amax(dim=1, keepdim=True) / 127).clamp_min(torch.finfo(x.dtype).tiny)
        product = self._product((flat / scale).round_().to(torch.int8)).to(x.dtype).mul_(scale)
        y = product.mul_(self.scale) if self.bias is None else torch.addcmul(self.bias, product, self.scale)
        return y.reshape(*x.shape[:-1], self.out_features)

    def _product(self, x: Tensor) -> Tensor:
        return torch._int_mm(x, self.weight.t())


class RowwiseInt8Linear(Int8Linear):
    """The same numbers, row by row: a matrix times one vector can be faster than half of one times two.

    Args:
        linear: The layer to stand in for, on the CPU.
        rows: For more than this the product is one.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__(linear, rows)
        self.rows = min(rows, _MOST_ROWS_ALONE)

    def _product(self, x: Tensor) -> Tensor:
        if len(x) > self.rows:
            return super()._product(x)
        return torch.cat([torch._int_mm(row, self.weight.t()) for row in torch.split(x, 1)])


def optimize(module: ModuleT, *, precision: Precision = "float32", rows: int = 64, compiled: bool = False) -> ModuleT:
    """A copy of ``module`` for inference whose linear layers run the fastest way found.

    The given module is left as it is, and shares the weights that were not packed anew; dropping the copy undoes
    everything. No global setting is touched. The copy is in eval mode and has no gradients.

    Args:
        module: Any module; ``nn.Linear`` layers in it are replaced where that is faster.
        precision: The least precision that is acceptable. "float32" changes results by rounding only (about 1e-6
            relative); "bfloat16" also admits rounding each product's operands to bfloat16 (about 3e-3 a layer), "int8"
            to eight bits (about 1e-2 a layer). A lower precision is used only where it was faster here.
        rows: How many rows (batch times frames) the layers will usually see; the layers are timed with it.
        compiled: Also compile every block that stands in an ``nn.ModuleList``, one graph for blocks of one kind. The
            first calls then take seconds to minutes; on CUDA the graphs are replayed without launch cost (CUDA
            graphs). The packed kernels cannot be compiled and are left out.

    Returns:
        The copy. ``print`` shows which kernel each layer got.

    Raises:
        ValueError: If ``precision`` is unknown or ``rows`` not positive.

    Note:
        The choice is made by measuring, so two runs may choose differently and then differ by rounding.

    Example:
        >>> network = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        >>> fast, x = optimize(network, rows=8), torch.randn(8, 16)
        >>> torch.allclose(fast(x), network(x), atol=1e-5)
        True
    """
    if precision not in _TOLERANCE:
        raise ValueError(f"Unknown precision {precision!r}; choose from {', '.join(_TOLERANCE)}.")
    if rows < 1:
        raise ValueError(f"`rows` must be positive; got {rows}.")
    tensors = (*module.parameters(), *module.buffers())
    # The copy stands in a holder, so that a module which is itself one linear layer can be replaced like any other.
    holder = nn.Sequential(copy.deepcopy(module, memo={id(tensor): tensor for tensor in tensors})).eval()
    kernels = [kernel for kernel in _kernels(tensors, precision) if kernel.compilable or not compiled]
    for parent in list(holder.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, _fastest(child, kernels, precision, rows))
    if compiled:
        mode = "reduce-overhead" if any(tensor.is_cuda for tensor in tensors) else None
        for blocks in [part for part in holder.modules() if isinstance(part, nn.ModuleList)]:
            for block in blocks:
                block.compile(mode=mode)
    return cast(ModuleT, holder[0])


def is_optimized(module: nn.Module) -> bool:
    """Whether ``optimize`` found a faster form for any of the module's layers."""
    return any(isinstance(part, _InferenceLinear) for part in module.modules())


def _kernels(tensors: Iterable[Tensor], precision: Precision) -> list[type[_InferenceLinear]]:
    """The stand-ins that keep a precision on the device of the tensors."""
    device_type = next((tensor.device.type for tensor in tensors), "cpu")
    kernels: list[type[_InferenceLinear]] = []
    if device_type == "cpu":
        kernels += [ColumnMajorLinear, PackedLinear, FixedRowsLinear]
    if device_type in ("cpu", "cuda") and precision != "float32":
        kernels.append(BFloat16Linear)
    if device_type == "cpu" and precision == "int8":
        kernels += [Int8Linear, RowwiseInt8Linear]
    return kernels


def _fastest(linear: nn.Linear, kernels: list[type[_InferenceLinear]], precision: Precision, rows: int) -> nn.Module:
    """The layer itself, or the quickest eligible stand-in."""
    weight = linear.weight
    if weight.dtype != torch.float32 or not kernels:
        return linear
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, linear.in_features, generator=generator).to(weight.device)
    with torch.inference_mode():
        expected = F.linear(x, weight, linear.bias)
        candidates = [kernel for make in kernels if (kernel := _try(make, linear, x, expected, precision)) is not None]
        times = shortest_times([partial(kernel, x) for kernel in [linear, *candidates]], x.device)
    best = min(range(len(times)), key=times.__getitem__)
    return [linear, *candidates][best] if times[best] < _WORTH_IT * times[0] else linear


def _try(
    make: Callable[[nn.Linear, int], nn.Module], linear: nn.Linear, x: Tensor, expected: Tensor, precision: Precision
) -> nn.Module | None:
    """A stand-in, if this build has its kernel and the result is as exact as asked."""
    try:
        kernel = make(linear, len(x))
        error = (kernel(x) - expected).norm() / expected.norm()
    except (AttributeError, NotImplementedError, RuntimeError):  # the operator is missing, or refuses this shape
        return None
    return kernel if error <= _TOLERANCE[precision] else None


def shortest_times(calls: Sequence[Callable[[], object]], device: torch.device, *, num_turns: int = 8) -> list[float]:
    """Seconds of the shortest of a few runs of each call, taking turns: what disturbs a run only lengthens it."""
    best = [float("inf")] * len(calls)
    for _ in range(num_turns):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best[i] = min(best[i], time.perf_counter() - start)
    return best
