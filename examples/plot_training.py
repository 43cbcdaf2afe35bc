"""Draw how the losses of trainings fall: training and held-out, one panel for each run.

    python examples/plot_training.py runs/small/* --out curves.svg

Needs: the extra viz, and folders that ``cospeech train`` wrote.
Takes: seconds.
CI: skip, it wants finished trainings
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cospeech.training import read_metrics


def main() -> None:
    """Read every run, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("curves.svg"))
    arguments = parser.parse_args()
    runs = {run: read_metrics(run) for run in arguments.runs}
    figure, panels = plt.subplots(1, len(runs), figsize=(2.6 * len(runs), 2.4), squeeze=False, layout="constrained")
    for panel, (run, lines) in zip(panels[0], runs.items(), strict=True):
        for key, label, style in (("loss/total", "training", "-"), ("validation/total", "held out", "o--")):
            points = [(line["step"], line[key]) for line in lines if key in line]
            if points:
                panel.plot(*zip(*points, strict=True), style, label=label, linewidth=1, markersize=3)
        panel.set_title(run.name, fontsize=9)
        panel.set_xlabel("step", fontsize=8)
        panel.tick_params(which="both", labelsize=6)
        if min(line.get("loss/total", 1.0) for line in lines) > 0:
            panel.set_yscale("log")
    panels[0][0].legend(fontsize=7)
    figure.savefig(arguments.out, metadata={"Date": None} if arguments.out.suffix == ".svg" else None)
    print(arguments.out)


if __name__ == "__main__":
    main()
