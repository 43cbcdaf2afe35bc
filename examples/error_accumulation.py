"""Measure how errors of rotations grow along the body, from local against global rotations; optionally draw it.

    python examples/error_accumulation.py                                            # a table
    python examples/error_accumulation.py --plot docs/images/error_accumulation.svg  # and a figure, extra 'viz'

Every joint of a procedural motion is turned by the same angle about a random axis, once in its parent's frame and once
in the world's. A local error turns everything further out with it; a global one only where its own bone points.

Needs: nothing but cospeech; for the figure the extra `viz`.
Takes: seconds.
CI: --seconds 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from cospeech.data.synthetic import make_clip
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics, forward_kinematics_global, local_to_global

PARTS = {
    "wrists": [SMPLX.index(f"{side}_wrist") for side in ("left", "right")],
    "finger tips": [
        SMPLX.index(f"{side}_{finger}3")
        for side in ("left", "right")
        for finger in ("index", "middle", "pinky", "ring", "thumb")
    ],
    "feet": [SMPLX.index(f"{side}_foot") for side in ("left", "right")],
}
DEGREES = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)


def turned(rotations: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Each rotation followed by one of ``degrees`` about an axis of its own."""
    axes = torch.nn.functional.normalize(torch.randn(*rotations.shape[:-2], 3, generator=generator), dim=-1)
    return rotations @ axis_angle_to_matrix(axes * torch.deg2rad(torch.tensor(degrees)))


def position_errors(local_rotations: Tensor, degrees: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean distance of each joint from where it was, metres, ``(J)``: turned in local and in global rotations."""
    truth = forward_kinematics(local_rotations, SMPLX)
    local = forward_kinematics(turned(local_rotations, degrees, generator), SMPLX)
    world = forward_kinematics_global(turned(local_to_global(local_rotations, SMPLX), degrees, generator), SMPLX)
    return tuple((x - truth).norm(dim=-1).mean(0) for x in (local, world))


def plot(errors: dict[str, list[tuple[float, float]]], depths: list[tuple[int, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for colour, (part, pairs) in zip(("tab:blue", "tab:orange", "tab:green"), errors.items(), strict=True):
        left.plot(DEGREES, [100 * a for a, _ in pairs], "-o", color=colour, label=f"{part}, local")
        left.plot(DEGREES, [100 * b for _, b in pairs], "--o", color=colour, label=f"{part}, global")
    left.set(xlabel="error of every rotation (degrees)", ylabel="error of position (cm)")
    left.legend(fontsize=8)
    right.plot([d for d, _, _ in depths], [100 * a for _, a, _ in depths], "-o", color="black", label="local")
    right.plot([d for d, _, _ in depths], [100 * b for _, _, b in depths], "--o", color="black", label="global")
    right.set(xlabel="bones from the pelvis", ylabel=f"mean error at {DEGREES[2]:g} degrees (cm)")
    right.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    clips = [make_clip(arguments.seconds, speaker=speaker, seed=speaker).local_rotations for speaker in (1, 2, 3, 4)]
    rotations, generator = torch.cat(clips), torch.Generator().manual_seed(0)

    print(f"{'degrees':>8s}" + "".join(f"{part + ', local':>20s}{'global':>8s}{'ratio':>7s}" for part in PARTS))
    errors: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    depths: list[tuple[int, float, float]] = []
    for degrees in DEGREES:
        local, world = position_errors(rotations, degrees, generator)
        row = f"{degrees:8g}"
        for part, joints in PARTS.items():
            a, b = local[joints].mean().item(), world[joints].mean().item()
            errors[part].append((a, b))
            row += f"{100 * a:17.2f} cm{100 * b:8.2f}{a / b:7.2f}"
        print(row)
        if degrees == DEGREES[2]:
            levels = enumerate(SMPLX.levels)
            depths = [(d, local[list(j)].mean().item(), world[list(j)].mean().item()) for d, j in levels]
    if arguments.plot:
        plot(errors, depths, arguments.plot)


if __name__ == "__main__":
    main()
