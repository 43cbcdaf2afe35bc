"""A still picture of a motion as SVG: some of its poses side by side, and the paths that the hands take in between.

    python examples/draw_motion.py                                     # the bundled model on its speech sample
    python examples/draw_motion.py --motion take.npz --from-second 2 --to-second 4 --out take.svg

The first line made the picture on the start page (``--out docs/images/first_motion.svg``).

Needs: nothing but cospeech.
Takes: seconds.
CI: --out motion.svg
"""

import argparse
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch

from cospeech import Motion, load_pipeline
from cospeech.viz.skeleton import figure_of, figure_points

COLOURS = {"left": "#3f7fb5", "right": "#e08a3c", "middle": "#8c96a0"}
PIXELS_PER_METRE, COLUMN_METRES, TURN_DEGREES = 190, 0.95, 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", help="a .npz or .bvh; without, the bundled model is asked")
    parser.add_argument("--poses", type=int, default=5)
    parser.add_argument("--from-second", type=float, default=3.0)
    parser.add_argument("--to-second", type=float, default=4.6)
    parser.add_argument("--out", type=Path, default=Path("motion.svg"))
    options = parser.parse_args()

    if options.motion:
        motion = Motion.load(options.motion)
    else:
        motion = load_pipeline("cospeech-tiny")(str(files("cospeech") / "assets/speech.wav"), speaker=2, seed=7)
    first, last = (round(second * motion.rate_hz) for second in (options.from_second, options.to_second))
    motion = motion[first : last + 1]
    shown = torch.linspace(0, motion.num_frames - 1, options.poses).round().long().tolist()

    figure = figure_of(motion.skeleton)
    points = figure_points(motion, figure).double()
    angle = math.radians(TURN_DEGREES)
    right = points.new_tensor([math.cos(angle), 0, -math.sin(angle)])
    depth = points.new_tensor([math.sin(angle), 0, math.cos(angle)])
    flat = torch.stack([(points - points[:, :1].mean(0)) @ right, points[..., 1].max() + 0.15 - points[..., 1]], -1)
    flat, far = flat * PIXELS_PER_METRE, points @ depth
    width = options.poses * COLUMN_METRES * PIXELS_PER_METRE
    height = float(flat[..., 1].max()) + 0.1 * PIXELS_PER_METRE

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" stroke-linecap="round">',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#f4f5f6"/>',
    ]
    for column, (frame, following) in enumerate(pairwise([*shown, shown[-1]])):
        x = (column + 0.5) * COLUMN_METRES * PIXELS_PER_METRE
        lines.append(f'<g transform="translate({x:.1f} 0)">')
        for limb in sorted(figure.limbs, key=lambda limb: float(far[frame, [limb.start, limb.end]].sum())):
            (x1, y1), (x2, y2) = flat[frame, limb.start].tolist(), flat[frame, limb.end].tolist()
            thick = PIXELS_PER_METRE * (limb.start_radius + limb.end_radius)
            place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            if not limb.torso:
                lines.append(f'<line {place} stroke="#f4f5f6" stroke-width="{thick + 2:.1f}"/>')  # tells limbs apart
            lines.append(f'<line {place} stroke="{COLOURS[limb.side]}" stroke-width="{thick:.1f}"/>')
        for side in ("left", "right"):  # where the hand goes until the next pose
            path = flat[frame : following + 1, figure.anchors[f"{side}_middle1"]].tolist()
            steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
            lines.append(f'<polyline points="{steps}" stroke="{COLOURS[side]}" stroke-width="2" fill="none"/>')
        lines.append("</g>")
    options.out.write_text("\n".join([*lines, "</svg>", ""]))
    print(f"{options.out}: {options.poses} poses of {motion}")


if __name__ == "__main__":
    main()
