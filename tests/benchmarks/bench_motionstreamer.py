"""What a MotionStreamer latent costs at the published size on one CPU thread, against the published order of work.

Published: for each latent both texts with all latents so far go through the transformer, then the head makes every
step's modulations again. Ours: keys and values are kept, all steps' modulations are one product per layer, and linear
layers run packed. Same weights (random), same noise; the largest difference of the latents is printed.

    python tests/benchmarks/bench_motionstreamer.py [--seconds 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median, quantiles

import torch
from torch import Tensor, nn

from cospeech.models import (
    CausalTAE,
    CausalTAEConfig,
    MotionStreamer,
    MotionStreamerConfig,
    MotionStreamerGenerator,
    motionstreamer_steps,
    optimize_motionstreamer,
)
from cospeech.pipelines import MotionStreamerPipeline, TextPrompt
from cospeech.representations import FeatureStats

SCALE = 4.0
POSITIONS = (1, 30, 60, 77)


def compare(contestants: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, float]:
    """Median CPU seconds per call; the contestants take turns, three at least."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    while sum(map(sum, times.values())) < seconds * len(times) or len(next(iter(times.values()))) < 3:
        for name, run in contestants.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: median(taken) for name, taken in times.items()}


def published_condition(model: MotionStreamer, texts: Tensor, latents: Tensor) -> Tensor:
    """Both texts with all latents from the start, one pass each."""
    return torch.cat([model.transformer(text[None], latents)[:, -1] for text in texts])


def published_latent(model: MotionStreamer, condition: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """The head step by step: time, modulations and blocks again at every step."""
    steps = motionstreamer_steps()
    noisy = draw()
    for timestep in steps.clock:
        told = torch.full((2,), int(timestep))
        given, without = model.head(noisy.expand(2, -1), told, condition).split(1)
        noise = draw() if steps.takes_noise(timestep) else None
        noisy = steps.step(torch.lerp(without, given, SCALE), timestep, noisy, noise)
    return noisy


def noise_of(seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(1, 16, generator=generator)


def awake(model: MotionStreamer) -> MotionStreamer:
    """Modulations and output start at zero; small random numbers make them work, and keep 50 steps calm."""
    for linear in (*model.head.modulations, model.head.final_modulation, model.head.latent_out):
        nn.init.normal_(linear.weight, std=0.002)
    return model.eval()


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2.0, help="per contestant and measurement")
    seconds = arguments.parse_args().seconds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = awake(MotionStreamer(MotionStreamerConfig()))
    fast, rounded = optimize_motionstreamer(model), optimize_motionstreamer(model, precision="int8")
    texts, latents = torch.randn(2, 768), torch.randn(1, 77, 16)
    generators = {"cached": MotionStreamerGenerator(model), "cached, packed": MotionStreamerGenerator(fast)}
    generators["cached, int8"] = MotionStreamerGenerator(rounded)

    conditions = published_condition(model, texts, latents[:, :5])
    head_ways = {"published": partial(published_latent, model, conditions, noise_of(1))}
    for name, generator in generators.items():
        head_ways[name] = partial(generator.sample, conditions, noise_of(1))
    expected = published_latent(model, conditions, noise_of(9))
    errors = {
        name: (generator.sample(conditions, noise_of(9)) - expected).norm() / expected.norm()
        for name, generator in generators.items()
    }
    head = compare(head_ways, seconds=seconds)
    print("\n| head, 50 steps | CPU ms per latent | x published | relative difference |\n|---|---|---|---|")
    for name, taken in head.items():
        error = f"{float(errors[name]):.0e}" if name in errors else ""
        print(f"| {name} | {1e3 * taken:.0f} | {head['published'] / taken:.1f} | {error} |")

    print("\n| position | way | transformer ms | whole latent ms | x published |\n|---|---|---|---|---|")
    for position in POSITIONS:
        ways = {"published": partial(published_condition, model, texts, latents[:, :position])}
        for name, generator in generators.items():
            state = generator.init_state(texts[:1], empty_text=texts[1], history=latents[:, : position - 1])
            ways[name] = partial(generator.extend, state, latents[:, position - 1])
        taken = compare(ways, seconds=seconds / 4)
        whole = {name: taken[name] + head[name] for name in ways}
        for name in ways:
            ratio = whole["published"] / whole[name]
            print(f"| {position} | {name} | {1e3 * taken[name]:.0f} | {1e3 * whole[name]:.0f} | {ratio:.1f} |")
    for name, generator in generators.items():  # one turn of the sliding history, in which it is read again once
        state = generator.init_state(texts[:1], empty_text=texts[1], history=latents)
        cycle = 77 - generator.history_latents
        times = []
        for i in range(cycle):
            start = time.process_time()
            state = generator.extend(state, latents[:, i])
            times.append(time.process_time() - start)
        mean = sum(times) / cycle
        print(
            f"| 300 and on (sliding) | {name} | {1e3 * mean:.0f} (once {1e3 * max(times):.0f}) "
            f"| {1e3 * (mean + head[name]):.0f} | |"
        )

    tae = CausalTAE(CausalTAEConfig()).eval()
    state = tae.decoder.init_state(1)
    decode = compare({"decode": lambda: tae.decoder.step(latents[:, :1], state)}, seconds=seconds / 4)["decode"]
    generator = generators["cached, packed"]
    begun = generator.init_state(texts[:1], empty_text=texts[1], history=latents[:, :9])
    step = compare({"step": partial(generator.extend, begun, latents[:, 9])}, seconds=seconds / 4)["step"]
    print(f"\nDecoding a latent: {1e3 * decode:.0f} ms; transformer: {1e3 * step:.0f} ms; a latent plays 133 ms.\n")
    print("| steps | solver | head ms | whole latent ms | seconds of motion per second |\n|---|---|---|---|---|")
    for num_steps, solver in [(50, "ddpm"), (20, "ddim"), (10, "ddim"), (5, "ddim")]:
        generator = MotionStreamerGenerator(fast, steps=motionstreamer_steps(num_steps, solver=solver))
        taken = compare({"": partial(generator.sample, conditions, noise_of(1))}, seconds=seconds / 2)[""]
        whole = taken + step + decode
        print(f"| {num_steps} | {solver} | {1e3 * taken:.0f} | {1e3 * whole:.0f} | {4 / 30 / whole:.2f} |")

    stats = FeatureStats(torch.zeros(272), torch.ones(272))
    pipe = MotionStreamerPipeline(fast, tae, stats, empty_text=texts[1])
    times, start = [], time.process_time()
    for _ in pipe.stream([TextPrompt(texts[0], 1.0), TextPrompt(-texts[0], 1.0)]):
        times.append(time.process_time() - start)
        start = time.process_time()
    p95 = quantiles(times, n=20)[-1]
    print(
        f"\nStream, 50 steps, two prompts: first frames after {times[0]:.2f} s; "
        f"per four frames p50 {median(times):.2f} s, p95 {p95:.2f} s."
    )


if __name__ == "__main__":
    main()
