"""GlobalDiff's denoiser: one window of ten calls, the plain order of work against the prepared one.

``python tests/benchmarks/bench_globaldiff.py`` prints a table per number of threads. "plain" recomputes everything in
every call, as the published program does; "prepared" does once what does not change; "modulations kept" also keeps
what speaker and times say from window to window; "one stack" also runs the blocks of both streams as one.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, StackedDenoiser
from cospeech.nn import optimize

sys.path.insert(0, str(Path(__file__).parent))
from timing import compare

NUM_FRAMES, NUM_CALLS = 60, 10
SMALL = GlobalDiffConfig(hidden_dim=128, num_layers=3, num_heads=4, feedforward_dim=256, feature_dim=36, num_speakers=5)


def window_contestants(config: GlobalDiffConfig, batch_size: int) -> dict[str, partial[None]]:
    """The ways to run one window of ten calls."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(batch_size, *shape, generator=generator)

    denoiser = GlobalDiffDenoiser(config).eval()
    for parameter in denoiser.parameters():  # what starts at zero would be cheap to read
        nn.init.normal_(parameter, std=0.05, generator=generator)
    noisy, times = randn(NUM_FRAMES, config.motion_dim), torch.arange(NUM_CALLS) / NUM_CALLS
    given = {
        "features": randn(NUM_FRAMES, config.feature_dim),
        "expressions": randn(NUM_FRAMES, config.expression_dim),
        "speaker": torch.full((batch_size,), 2),
        "seed": randn(config.num_seed_frames, config.motion_dim),
    }
    modulations, stacked = denoiser.modulate(given["speaker"], times), StackedDenoiser(denoiser)

    def plain() -> None:
        for time in times:
            denoiser(noisy, time.expand(batch_size), **given)

    def prepared(network: GlobalDiffDenoiser | StackedDenoiser, **kept: object) -> None:
        conditioning = network.prepare(**given, times=times, **kept)
        for i in range(NUM_CALLS):
            network.denoise(noisy, conditioning, i)

    return {
        "plain": partial(plain),
        "prepared": partial(prepared, denoiser),
        "prepared, modulations kept": partial(prepared, denoiser, modulations=modulations),
        "prepared, optimized": partial(prepared, optimize(denoiser, rows=batch_size * NUM_FRAMES)),
        "prepared, one stack": partial(prepared, stacked),
        "modulations kept, one stack": partial(prepared, stacked, modulations=modulations),
    }


def print_table(title: str, times: dict[str, float]) -> None:
    """One Markdown table, ratios against the first row."""
    first = next(iter(times.values()))
    print(f"\n| {title} | ms | times faster |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1e3 * seconds:.1f} | {first / seconds:.2f} |")


def main() -> None:
    """Print all tables."""
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        with torch.inference_mode():
            for name, config, batch_size in (
                ("published", GlobalDiffConfig(), 1),
                ("published", GlobalDiffConfig(), 8),
                ("small", SMALL, 1),
            ):
                title = f"{name} size, {batch_size} window(s), {num_threads} thread(s)"
                print_table(title, compare(window_contestants(config, batch_size), seconds=2))


if __name__ == "__main__":
    main()
