"""Every published network in training: seconds of a step, and peak memory, as they are and with layers computed twice.

python tests/benchmarks/bench_training.py                      # about three minutes
python tests/benchmarks/bench_training.py globaldiff/denoiser@32  # one recipe, and how many items a step has
python tests/benchmarks/bench_training.py --compile tiny/denoiser globaldiff/vae-4  # compiled beside plain; needs g++
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
path, size, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
(recipe,) = load_recipes(path)
with tempfile.TemporaryDirectory() as folder:
    task = recipe.task.rehearsal(Path(folder)).build()
    layers = sum(checkpoint_layers(network) for network in task.networks) if way == "twice" else 0
    for network in task.networks if way == "compiled" else ():
        network.compile(dynamic=False)
    batch = task.batch([item % task.num_items for item in range(size)], seeded(0))
    optimizer, step, before = make_optimizer(task.model.parameters(), recipe.optimizer), LossStep(task).train(), peak()
    seconds, begin = [], time.monotonic()
    for number in range(3 + 3 * (way == "compiled")):
        start = time.thread_time()
        step(batch, Clock(1, 100, 0.0, seeded(number)))["total"].backward()
        optimizer.step(); optimizer.zero_grad()
        seconds.append(time.thread_time() - start)
        first = time.monotonic() - begin if number == 0 else first
count = sum(p.numel() for p in task.model.parameters())
print(count, min(seconds), before, peak(), layers, first)
"""


def measure(name: str, way: str) -> list[str]:
    """What the worker prints: parameters, seconds, memory before and at the peak, layers, seconds of the first step."""
    recipe, _, items = name.partition("@")
    size = items or str(MODELS.get(recipe, 4))
    run = [sys.executable, "-c", WORKER, str(RECIPES / f"{recipe}.toml"), size, way]
    return [size, *subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()]


def compare_layers(chosen: list[str]) -> None:
    """A row for each recipe: as it is, and with layers computed twice."""
    print("Networks of the published sizes, procedural data, one thread's time of forward, backward and optimizer.")
    print("Memory in MB: data and weights in place, then at the peak.\n")
    print(
        "| recipe | parameters | items | s a step | steps per s | memory | layers computed twice: s a step | memory |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in chosen or MODELS:
        size, count, plain, before, peak, *_ = measure(name, "plain")
        _, _, twice, _, twice_peak, layers, _ = measure(name, "twice")
        again = f"{float(twice):.2f} | {twice_peak}" if int(layers) else "no layers to do so | -"
        speed = f"{float(plain):.2f} | {1 / float(plain):.2f}"
        recipe = name.partition("@")[0]
        print(f"| {recipe} | {int(count):,} | {size} | {speed} | {before} to {peak} | {again} |", flush=True)


def compare_compiled(chosen: list[str]) -> None:
    """A row for each recipe: as it is, and compiled; each measured twice in turn, the faster one counts."""
    print("| recipe | items | s a step | compiled: s a step | times as fast | its first step, s by the clock |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in chosen or ("tiny/denoiser", "globaldiff/vae-4", "emage/vqvae-upper"):
        runs = [(measure(name, "plain"), measure(name, "compiled")) for _ in range(2)]
        plain, compiled = (min(float(pair[way][2]) for pair in runs) for way in range(2))
        size, first = runs[0][0][0], float(runs[0][1][6])
        row = f"{size} | {plain:.3f} | {compiled:.3f} | {plain / compiled:.2f} | {first:.0f}"
        print(f"| {name.partition('@')[0]} | {row} |", flush=True)


def main(arguments: list[str]) -> None:
    """Print a table."""
    chosen = [name for name in arguments if name != "--compile"]
    (compare_compiled if "--compile" in arguments else compare_layers)(chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
