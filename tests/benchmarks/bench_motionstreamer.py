"""What a MotionStreamer latent costs at the published size on one CPU thread, against the published order of work.

Published (``plain_motionstreamer.py``, stock layers): for each latent both texts with all latents so far go through the
transformer, then the head makes time, condition and modulations again at every step. Ours: keys and values are kept,
all steps' modulations are one product per layer, both texts are rows of one batch, linear layers run the way found
fastest. Same weights (random), same noise; the largest difference of the latents is printed. "products" are the bare
matrix products that the head cannot do without, in float32, nothing else.

    python tests/benchmarks/bench_motionstreamer.py [--seconds 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from plain_motionstreamer import PlainMotionStreamer
from timing import compare
from torch import Tensor, nn

from cospeech.hub.convert.motionstreamer import motionstreamer_to_published
from cospeech.models import (
    CausalTAE,
    CausalTAEConfig,
    MotionStreamer,
    MotionStreamerConfig,
    MotionStreamerGenerator,
    motionstreamer_steps,
    optimize_motionstreamer,
)

POSITIONS = (1, 30, 60, 77)
STEPS = ((50, "ddpm"), (20, "ddim"), (10, "ddim"), (5, "ddim"))


def noise_of(seed: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(1, 16, generator=generator)


def awake(model: MotionStreamer) -> MotionStreamer:
    """Modulations and output start at zero; small random numbers make them work, and keep 50 steps calm."""
    for linear in (*model.head.modulations, model.head.final_modulation, model.head.latent_out):
        nn.init.normal_(linear.weight, std=0.002)
    return model.eval()


def bare_products(model: MotionStreamer, num_steps: int) -> Callable[[], object]:
    """The head's products alone: two rows at every step, all steps' rows at once for the modulations."""
    head = model.head
    layers = [layer for block in head.feedforwards for layer in (block.expand, block.contract)]
    few, many = torch.randn(2, layers[0].in_features), torch.randn(2 * num_steps, layers[0].in_features)

    def run() -> None:
        for modulation in (*head.modulations, head.final_modulation):
            F.linear(many, modulation.weight)
        for _ in range(num_steps):
            for layer in layers:
                F.linear(few, layer.weight)

    return run


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2.0, help="per contestant and measurement")
    arguments.add_argument("--packed", action="store_true", help="also float32 as optimize() packs it, 1 GB more")
    options = arguments.parse_args()
    seconds = options.seconds
    timed = partial(compare, clock=time.thread_time)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = awake(MotionStreamer(MotionStreamerConfig()))
    with torch.device("meta"):
        plain = PlainMotionStreamer().eval()
    plain.load_state_dict(motionstreamer_to_published(model), assign=True)  # the same memory
    models = {"cached": model}
    if options.packed:
        models["cached, packed"] = optimize_motionstreamer(model)
    models["cached, int8"] = optimize_motionstreamer(model, precision="int8")
    generators = {name: MotionStreamerGenerator(each) for name, each in models.items()}
    texts, latents = torch.randn(2, 768), torch.randn(1, 77, 16)

    conditions = torch.cat([plain.condition(text[None], latents[:, :5]) for text in texts])
    expected = plain.sample(conditions, noise_of(9))
    ways: dict[str, Callable[[], object]] = {"published": partial(plain.sample, conditions, noise_of(1))}
    ways["products, float32"] = bare_products(model, 50)
    errors = {}
    for name, generator in generators.items():
        ways[name] = partial(generator.sample, conditions, noise_of(1))
        drawn = generator.sample(conditions, noise_of(9))
        errors[name] = f"{float((drawn - expected).norm() / expected.norm()):.0e}"
    head = timed(ways, seconds=seconds)
    print("\n| head, 50 steps | CPU ms per latent | times as fast | relative difference |\n|---|---|---|---|")
    for name, taken in head.items():
        print(f"| {name} | {1e3 * taken:.0f} | {head['published'] / taken:.1f} | {errors.get(name, '')} |")

    print("\n| position | way | transformer ms | whole latent ms | times as fast |\n|---|---|---|---|---|")
    for position in POSITIONS:
        ways = {"published": partial(both_texts, plain, texts, latents[:, :position])}
        for name, generator in generators.items():
            state = generator.init_state(texts[:1], empty_text=texts[1], history=latents[:, : position - 1])
            ways[name] = partial(generator.extend, state, latents[:, position - 1])
        taken = timed(ways, seconds=seconds / 4)
        whole = {name: taken[name] + head[name] for name in ways}
        for name in ways:
            ratio = whole["published"] / whole[name]
            print(f"| {position} | {name} | {1e3 * taken[name]:.0f} | {1e3 * whole[name]:.0f} | {ratio:.1f} |")
    for name, generator in generators.items():  # one turn of the sliding history, in which it is read again once
        state = generator.init_state(texts[:1], empty_text=texts[1], history=latents)
        cycle = 77 - generator.history_latents
        times = []
        for i in range(cycle):
            start = time.thread_time()
            state = generator.extend(state, latents[:, i])
            times.append(time.thread_time() - start)
        mean = sum(times) / cycle
        # The published order knows no further position than 77; what it would go on costing there is the yard-stick.
        ratio = whole["published"] / (mean + head[name])
        print(
            f"| 300 and on (sliding) | {name} | {1e3 * mean:.0f} (once {1e3 * max(times):.0f}) "
            f"| {1e3 * (mean + head[name]):.0f} | {ratio:.1f} (of 77) |"
        )

    tae = CausalTAE(CausalTAEConfig()).eval()
    state = tae.decoder.init_state(1)
    decode = timed({"": lambda: tae.decoder.step(latents[:, :1], state)}, seconds=seconds / 4)[""]
    print("\n| steps | solver | way | head ms | transformer ms | decoder ms | work per second of motion |")
    print("|---|---|---|---|---|---|---|")
    for name in models:
        begun = generators[name].init_state(texts[:1], empty_text=texts[1], history=latents[:, :9])
        step = timed({"": partial(generators[name].extend, begun, latents[:, 9])}, seconds=seconds / 4)[""]
        for num_steps, solver in STEPS:
            generator = MotionStreamerGenerator(models[name], steps=motionstreamer_steps(num_steps, solver=solver))
            taken = timed({"": partial(generator.sample, conditions, noise_of(1))}, seconds=seconds / 2)[""]
            work = (taken + step + decode) * 30 / 4
            print(
                f"| {num_steps} | {solver} | {name} | {1e3 * taken:.0f} "
                f"| {1e3 * step:.0f} | {1e3 * decode:.0f} | {work:.2f} |"
            )


def both_texts(plain: PlainMotionStreamer, texts: Tensor, latents: Tensor) -> Tensor:
    """The published conditions, one pass each."""
    return torch.cat([plain.condition(text[None], latents) for text in texts])


if __name__ == "__main__":
    main()
