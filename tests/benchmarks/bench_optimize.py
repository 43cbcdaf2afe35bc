"""Every kernel of ``cospeech.nn.optimize`` on transformer blocks, against torch's own encoder layer, in one process.

OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/bench_optimize.py
"""

from __future__ import annotations

from functools import partial

import torch
from timing import compare
from torch import Tensor, nn

from cospeech.nn import TransformerEncoderLayer, optimize
from cospeech.nn.optimization import BFloat16Linear, ColumnMajorLinear, FixedRowsLinear, Int8Linear, PackedLinear

LAYERS, FRAMES = 4, 64


class Stack(nn.Module):
    """A few encoder layers of ours."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerEncoderLayer(dim, num_heads=8, feedforward_dim=4 * dim, norm_first=True) for _ in range(LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def forced(stack: Stack, kernel: type, rows: int) -> Stack:
    """A copy in which every linear layer takes one kernel, faster or not."""
    fast = optimize(stack, rows=rows)  # shares weights; replaced below
    for source, parent in zip(stack.modules(), fast.modules(), strict=False):
        for name, child in source.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, kernel(child, rows))
    return fast


def main() -> None:
    """Print a table for each shape."""
    print("| width, batch, threads | way | ms per layer | x torch's layer | rel. error |\n|---|---|---|---|---|")
    for dim, batch, threads in [(384, 1, 1), (512, 1, 1), (512, 8, 1), (768, 1, 1), (768, 8, 1), (768, 8, 2)]:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        x, rows = torch.randn(batch, FRAMES, dim), batch * FRAMES
        stack = Stack(dim).eval()
        peer_layer = nn.TransformerEncoderLayer(dim, 8, 4 * dim, batch_first=True, norm_first=True, activation="gelu")
        peer = nn.TransformerEncoder(peer_layer, LAYERS, enable_nested_tensor=False).eval()
        ways: dict[str, nn.Module] = {"nn.TransformerEncoder": peer, "ours, plain": stack}
        for kernel in (ColumnMajorLinear, PackedLinear, FixedRowsLinear, BFloat16Linear, Int8Linear):
            try:
                ways[kernel.__name__] = forced(stack, kernel, rows)
            except (AttributeError, RuntimeError) as error:
                print(f"| {dim}, {batch}, {threads} | {kernel.__name__} | not on this machine: {error} | | |")
        ways["optimize()"] = optimize(stack, rows=rows)
        ways['optimize("int8")'] = optimize(stack, rows=rows, precision="int8")
        if batch == 1 and dim == 384:
            ways["optimize(compiled)"] = optimize(stack, rows=rows, compiled=True)
        with torch.inference_mode():
            expected = stack(x)
            times = compare({name: partial(way, x) for name, way in ways.items()}, seconds=0.5)
            for name, way in ways.items():
                error = float((way(x) - expected).norm() / expected.norm())
                shown = "" if way in (peer, stack) else f"{error:.0e}"
                ratio = times["nn.TransformerEncoder"] / times[name]
                print(
                    f"| {dim}, {batch}, {threads} | {name} | {1e3 * times[name] / LAYERS:.2f} | {ratio:.2f} | {shown} |"
                )


if __name__ == "__main__":
    main()
