"""Forward kinematics and local <-> global rotations, 55 joints, against smplx and the plain loop over joints.

    python tests/benchmarks/bench_kinematics.py [--frames 64 1906 100000] [--take FILE.npz] [--compile]

One thread. Without a take, rotations are random. The error is that of the first 2000 frames in float32 against the loop
in float64, in metres or matrix entries. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from smplx.lbs import batch_rigid_transform
from timing import compare
from torch import Tensor

from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import (
    SMPLX,
    forward_kinematics,
    forward_kinematics_global,
    global_to_local,
    local_to_global,
)

TAKE = Path(__file__).resolve().parents[3] / "shared" / "data" / "2_scott_0_1_1.npz"
PARENTS = torch.tensor(SMPLX.parents)


def loop_local_to_global(local: Tensor) -> Tensor:
    chain: list[Tensor] = []
    for joint, parent in enumerate(SMPLX.parents):
        chain.append(local[:, joint] if parent < 0 else chain[parent] @ local[:, joint])
    return torch.stack(chain, dim=1)


def loop_positions(world: Tensor) -> Tensor:
    rest = SMPLX.rest_joints.to(world)
    chain = [rest[0].to(world).expand(len(world), 3)]
    for joint, parent in enumerate(SMPLX.parents[1:], start=1):
        chain.append(chain[parent] + world[:, parent] @ (rest[joint] - rest[parent]))
    return torch.stack(chain, dim=1)


def smplx_positions(local: Tensor) -> Tensor:
    return batch_rigid_transform(local, SMPLX.rest_joints.expand(len(local), -1, -1), PARENTS)[0]


def loop_global_to_local(world: Tensor) -> Tensor:
    locals_ = [world[:, 0]]
    for joint, parent in enumerate(SMPLX.parents[1:], start=1):
        locals_.append(world[:, parent].transpose(-1, -2) @ world[:, joint])
    return torch.stack(locals_, dim=1)


def with_backward(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    leaf = x.clone().requires_grad_()

    def run() -> Tensor:
        (gradient,) = torch.autograd.grad(function(leaf).square().sum(), leaf)
        return gradient

    return run


def rotations(take: Path, num_frames: int) -> Tensor:
    """Local rotations of the take, repeated as needed; random ones without it."""
    if take.is_file():
        with np.load(take) as file:
            axis_angle = torch.from_numpy(file["poses"]).float().view(-1, 55, 3)
    else:
        axis_angle = torch.randn(2000, 55, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    local = axis_angle_to_matrix(axis_angle)
    return local.repeat(-(-num_frames // len(local)), 1, 1, 1)[:num_frames].contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--take", type=Path, default=TAKE)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 1906, 100_000])
    parser.add_argument("--compile", action="store_true", help="also time our functions under torch.compile")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each contestant")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = arguments.take.name if arguments.take.is_file() else "random rotations"
    print(f"torch {torch.__version__}, 1 thread, {source}, load {os.getloadavg()[0]:.1f}; milliseconds\n")
    print(
        "| | frames | smplx | loop over joints | cospeech | compiled | smplx / cospeech | loop / cospeech | max error |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for num_frames in arguments.frames:
        local = rotations(arguments.take, num_frames)
        world = local_to_global(local, SMPLX)
        tasks: list[tuple[str, Tensor, Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor] | None]] = [
            (
                "positions from local",
                local,
                lambda x: forward_kinematics(x, SMPLX),
                lambda x: loop_positions(loop_local_to_global(x)),
                smplx_positions,
            ),
            ("local to global", local, lambda x: local_to_global(x, SMPLX), loop_local_to_global, None),
            ("global to local", world, lambda x: global_to_local(x, SMPLX), loop_global_to_local, None),
            ("positions from global", world, lambda x: forward_kinematics_global(x, SMPLX), loop_positions, None),
        ]
        for name, x, ours, loop, peer in tasks:
            some = x[:2000]
            error = (ours(some) - loop(some.double())).abs().max().item()
            contestants = {"ours": lambda f=ours, x=x: f(x), "loop": lambda f=loop, x=x: f(x)}
            if peer is not None:
                contestants["smplx"] = lambda f=peer, x=x: f(x)
            if arguments.compile:
                compiled = torch.compile(ours, dynamic=False)
                contestants["compiled"] = lambda f=compiled, x=x: f(x)
            report(name, num_frames, compare(contestants, seconds=arguments.seconds), error)
        if num_frames <= 10_000:
            contestants = {
                "ours": with_backward(tasks[0][2], local),
                "loop": with_backward(tasks[0][3], local),
                "smplx": with_backward(smplx_positions, local),
            }
            if arguments.compile:
                contestants["compiled"] = with_backward(torch.compile(tasks[0][2], dynamic=False), local)
            error = (contestants["ours"]() - with_backward(tasks[0][3], local.double())()).abs().max().item()
            report("positions, forward + backward", num_frames, compare(contestants, seconds=arguments.seconds), error)


def report(name: str, num_frames: int, seconds: dict[str, float], error: float) -> None:
    def cell(key: str) -> str:
        return f"{1e3 * seconds[key]:.3g}" if key in seconds else "-"

    def ratio(key: str) -> str:
        return f"{seconds[key] / seconds['ours']:.1f}x" if key in seconds else "-"

    cells = (*map(cell, ("smplx", "loop", "ours", "compiled")), ratio("smplx"), ratio("loop"), f"{error:.1e}")
    print(f"| {name} | {num_frames} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
