"""``cospeech bench stream``: how long a stream of motion makes one wait, measured on this machine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cospeech.pipelines import MotionStreamerPipeline, TextPrompt

__all__ = ["add_parser", "measure_stream", "run_stream"]

EPILOG = """\
examples:
  cospeech bench stream                                 the published size, random weights, one thread
  cospeech bench stream --steps 10 --precision int8     fewer steps of the diffusion head, smaller weights
  cospeech bench stream --model runs/motionstreamer     any checkpoint, with random text embeddings

A text is known when its embedding is: the text model, which runs once per text, is not measured. Without a checkpoint
the weights are random, which costs the same. Times are those of the wall clock: leave the machine alone meanwhile.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``bench`` to the command line."""
    benches = commands.add_parser(
        "bench", help="measure speed on this machine", description="Measure speed on this machine."
    ).add_subparsers(dest="bench", required=True, metavar="WHAT")
    parser = benches.add_parser(
        "stream",
        help="time to first frame, latency of each chunk, real-time factor of a text stream",
        description="Stream motion for several prompts, one after the other, and print what one waits for.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", help="folder or Hub repository of a text model (default: random weights at the published size)")
    add("--small", action="store_true", help="random weights at a hundredth of the published size")
    add("--steps", type=int, help="of the diffusion head (default: 50 as published, or what the checkpoint says)")
    add("--solver", choices=("ddpm", "ddim"), help="default: ddim where --steps is given, or what the checkpoint says")
    add("--precision", choices=("float32", "bfloat16", "int8"), default="float32", help="default: %(default)s")
    add("--prompts", type=int, default=3, help="how many texts (default: %(default)s)")
    add("--seconds", type=float, default=4.0, help="of motion per text (default: %(default)s)")
    add("--threads", type=int, default=1, help="of the CPU (default: %(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: %(default)s)")
    parser.set_defaults(run=run_stream)


def run_stream(options: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    if min(options.prompts, options.threads, options.steps or 1) < 1 or options.steps == 0:
        raise ValueError("--prompts, --steps and --threads must be 1 at least")
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        plain = make_pipeline(options)
        pipeline, prompts = plain.optimize(precision=options.precision), make_prompts(plain, options)
        for _ in pipeline.stream(prompts[:1]):  # what happens once only is not measured
            break
        wait, firsts, chunks, seconds = measure_stream(pipeline, prompts)
    finally:
        torch.set_num_threads(threads)
    num_weights = sum(p.numel() for net in (plain.model, plain.tae) for p in net.parameters())
    settings, precision = pipeline.settings, options.precision
    print(f"weights          {num_weights / 1e6:.1f} million, {options.model or 'random'}, {precision} or better")
    print(f"head             {settings.num_steps} steps, {settings.solver}, guidance {settings.guidance_scale:g}")
    print(f"first frames     {1e3 * wait:.0f} ms after the first text is known")
    if firsts:
        print(f"next texts       {1e3 * max(firsts):.0f} ms at most from a text to its first frames")
    p95 = quantiles(chunks, n=20)[-1] if len(chunks) > 1 else chunks[0]
    print(f"chunks           p50 {1e3 * median(chunks):.0f} ms, p95 {1e3 * p95:.0f} ms for each 4 frames (133 ms)")
    print(f"real-time factor {sum(chunks) / seconds:.2f} seconds of work per second of motion")
    return 0


def measure_stream(
    pipeline: MotionStreamerPipeline, prompts: list[TextPrompt]
) -> tuple[float, list[float], list[float], float]:
    """Seconds to the first frames, from each later text to its first frames, for every chunk; seconds of motion."""
    known: list[float] = []

    def tell() -> Iterator[TextPrompt]:
        for prompt in prompts:
            known.append(time.perf_counter())
            yield prompt

    waits: list[float] = []
    chunks, frames, before = [], 0, time.perf_counter()
    for motion in pipeline.stream(tell()):
        motion.translation.sum().item()  # on an accelerator: until it is really there
        now = time.perf_counter()
        if len(waits) < len(known):
            waits.append(now - known[-1])
        chunks.append(now - before)
        frames, before = frames + motion.num_frames, now
    return waits[0], waits[1:], chunks, frames / pipeline.rate_hz


def make_pipeline(options: argparse.Namespace) -> MotionStreamerPipeline:
    """The checkpoint asked for, or random weights, sampled as asked for."""
    import torch

    from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
    from cospeech.pipelines import MotionStreamerPipeline, MotionStreamerSettings
    from cospeech.representations import FeatureStats

    if options.model:
        given = MotionStreamerPipeline.from_pretrained(options.model)
        model, tae, stats, settings = given.model, given.tae, given.stats, given.settings
    else:
        sizes, hidden_dim = MotionStreamerConfig(), 1024
        if options.small:
            sizes = MotionStreamerConfig(dim=128, num_layers=4, num_heads=4, head_dim=128, head_layers=3)
            hidden_dim = 64
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model, tae = MotionStreamer(sizes), CausalTAE(CausalTAEConfig(hidden_dim=hidden_dim))
        stats, settings = FeatureStats(torch.zeros(272), torch.ones(272)), MotionStreamerSettings()
    if options.steps:
        settings = replace(settings, num_steps=options.steps, solver="ddim")
    if options.solver:
        settings = replace(settings, solver=options.solver)
    empty = torch.zeros(model.config.text_dim)
    pipeline = MotionStreamerPipeline(model, tae, stats, empty_text=empty, settings=settings)
    return pipeline.to(options.device)


def make_prompts(pipeline: MotionStreamerPipeline, options: argparse.Namespace) -> list[TextPrompt]:
    """Random embeddings in place of texts."""
    import torch

    from cospeech.pipelines import TextPrompt

    texts = torch.randn(options.prompts, pipeline.model.config.text_dim, generator=torch.Generator().manual_seed(0))
    return [TextPrompt(text, options.seconds) for text in torch.nn.functional.normalize(texts, dim=-1)]
