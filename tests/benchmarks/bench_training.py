"""Every published network in training: seconds of a step, and peak memory, as they are and with layers computed twice.

python tests/benchmarks/bench_training.py                      # about three minutes
python tests/benchmarks/bench_training.py motionstreamer/transformer  # one recipe
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
MODELS = {  # recipe and items of a step: published sizes of networks, batches that a small machine holds
    "emage/vqvae-upper": 16,
    "emage/transformer": 2,
    "globaldiff/vae-4": 8,
    "globaldiff/speech": 8,
    "globaldiff/denoiser": 8,
    "diffsheg/show": 4,
    "motionstreamer/tae": 8,
    "motionstreamer/transformer": 4,
    "tiny/denoiser": 32,
}
# A process of its own, so that its peak is its own.
WORKER = """
import resource, sys, tempfile, time, torch
from pathlib import Path
torch.set_num_threads(1)
from cospeech.training import Clock, load_recipes
from cospeech.training.networks import LossStep, checkpoint_layers
from cospeech.training.optimizers import make_optimizer
from cospeech.training.order import seeded
path, size, twice = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "twice"
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
(recipe,) = load_recipes(path)
with tempfile.TemporaryDirectory() as folder:
    task = recipe.task.rehearsal(Path(folder)).build()
    layers = sum(checkpoint_layers(network) for network in task.networks) if twice else 0
    batch = task.batch([item % task.num_items for item in range(size)], seeded(0))
    optimizer, step, before = make_optimizer(task.model.parameters(), recipe.optimizer), LossStep(task).train(), peak()
    seconds = []
    for number in range(3):
        start = time.thread_time()
        step(batch, Clock(1, 100, 0.0, seeded(number)))["total"].backward()
        optimizer.step(); optimizer.zero_grad()
        seconds.append(time.thread_time() - start)
count = sum(p.numel() for p in task.model.parameters())
print(count, min(seconds), before, peak(), layers)
"""


def main(chosen: list[str]) -> None:
    """Print a row for each recipe."""
    print("Networks of the published sizes, procedural data, one thread's time of forward, backward and optimizer.")
    print("Memory in MB: data and weights in place, then at the peak.\n")
    print(
        "| recipe | parameters | items | s a step | steps per s | memory | layers computed twice: s a step | memory |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in chosen or MODELS:
        path, size = str(RECIPES / f"{name}.toml"), str(MODELS.get(name, 4))
        found = []
        for way in ("plain", "twice"):
            run = [sys.executable, "-c", WORKER, path, size, way]
            found.append(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
        (count, plain, before, peak, _), (_, twice, _, twice_peak, layers) = found
        again = f"{float(twice):.2f} | {twice_peak}" if int(layers) else "no layers to do so | -"
        speed = f"{float(plain):.2f} | {1 / float(plain):.2f}"
        print(f"| {name} | {int(count):,} | {size} | {speed} | {before} to {peak} | {again} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
