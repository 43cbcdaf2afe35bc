"""GlobalDiff's sampling: the published order of work in stock layers against ours, same numbers.

``python tests/benchmarks/bench_globaldiff.py`` prints, for each size and batch, one window of ten calls: "published" is
``plain_globaldiff.py``, which works everything out in every call; "prepared" does once what does not change; "packed"
has ``cospeech.nn.optimize``'s layers besides; "one stack" runs both streams as one in buffers; "modulations kept" also
keeps what speaker and times say from window to window. "bare products" are the products of the ten calls alone, of
weights in the fastest order and into memory that is there: no way of doing the same arithmetic is faster. The last
table is a clip of five windows from features, expressions included. Times are those of the thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech.hub.convert.globaldiff import denoiser_to_published, speech_model_to_published
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig, StackedDenoiser
from cospeech.nn import optimize
from cospeech.pipelines.globaldiff_windows import WindowInputs, WindowSampler, bind_denoiser
from cospeech.samplers import GlobalDiffSampler

sys.path.insert(0, str(Path(__file__).parent))
from plain_globaldiff import PlainDenoiser, PlainSpeechModel, plain_matrices, plain_window
from timing import compare

NUM_FRAMES, NUM_CALLS, NUM_WINDOWS = 60, 10, 5
SIZES = {"num_layers": 3, "num_heads": 4, "feedforward_dim": 256}
Network = GlobalDiffDenoiser | StackedDenoiser


@lru_cache
def networks(small: bool) -> tuple[GlobalDiffDenoiser, PlainDenoiser, SpeechModel, PlainSpeechModel]:
    """The denoiser and the speech model, ours and in stock layers, of the same weights."""
    generator = torch.Generator().manual_seed(0)
    sizes, dim = (SIZES, {"hidden_dim": 128}) if small else ({}, {})
    denoiser = GlobalDiffDenoiser(GlobalDiffConfig(**dim, **sizes)).eval()
    speech = SpeechModel(SpeechModelConfig(**dim, **sizes)).eval()
    for parameter in (*denoiser.parameters(), *speech.parameters()):  # what starts at zero would be cheap to read
        nn.init.normal_(parameter, std=0.03, generator=generator)
    plain = PlainDenoiser(denoiser.config.hidden_dim, **sizes).eval()
    plain.load_state_dict(denoiser_to_published(denoiser))
    plain_speech = PlainSpeechModel(speech.config.hidden_dim, **sizes).eval()
    plain_speech.load_state_dict(speech_model_to_published(speech))
    return denoiser, plain, speech, plain_speech


def bare_products(config: GlobalDiffConfig, batch_size: int) -> Callable[[], None]:
    """The products of the ten calls, and nothing else."""
    dim, rows = config.hidden_dim, batch_size * NUM_FRAMES
    widths = [(dim, dim), (dim, 2 * dim), (dim, dim), (dim, config.feedforward_dim), (config.feedforward_dim, dim)]
    shapes = [(333, dim), *(widths * config.num_layers), (dim, 180)]
    weights = [torch.randn(2, *shape) for shape in shapes]
    inputs = {width: torch.randn(2, rows, width) for width, _ in shapes}
    outputs = {width: torch.empty(2, rows, width) for _, width in shapes}

    def run() -> None:
        for _ in range(NUM_CALLS):
            for weight in weights:
                torch.bmm(inputs[weight.shape[1]], weight, out=outputs[weight.shape[2]])

    return run


def window_contestants(small: bool, batch_size: int) -> dict[str, Callable[[], object]]:
    """The ways to run one window of ten calls, each checked against the first."""
    denoiser, plain, _, _ = networks(small)
    generator = torch.Generator().manual_seed(1)

    def randn(*shape: int) -> Tensor:
        return torch.randn(batch_size, *shape, generator=generator)

    noise, seed = randn(NUM_FRAMES, 333), randn(8, 333)
    inputs = WindowInputs(noise, randn(NUM_FRAMES, 1024), randn(NUM_FRAMES, 100), torch.full((batch_size,), 2))
    sampler = GlobalDiffSampler(num_calls=NUM_CALLS)
    times, stacked = sampler.steps.clock, StackedDenoiser(denoiser)
    modulations = denoiser.modulate(inputs.speakers, torch.tensor(times))

    def prepared(network: Network, **kept: object) -> Tensor:
        predict = bind_denoiser(network, inputs, seed, times, **kept)
        noisy = noise
        for index, now in enumerate(times):
            clean = predict(noisy, now)
            clean[:, :8] = (seed + clean[:, :8]) / 2
            noisy = torch.lerp(noise, clean, (index + 1) / NUM_CALLS)
        return noisy

    ways = {
        "published": partial(plain_window, plain, noise, inputs.speakers, seed, inputs.features, inputs.expressions),
        "prepared": partial(prepared, denoiser),
        "packed": partial(prepared, optimize(denoiser, rows=batch_size * NUM_FRAMES)),
        "one stack": partial(prepared, stacked),
        "one stack, modulations kept": partial(prepared, stacked, modulations=modulations),
    }
    expected = ways["published"]()
    for way in ways.values():
        torch.testing.assert_close(way(), expected, rtol=1e-4, atol=1e-4)
    return {**ways, "bare products": bare_products(denoiser.config, batch_size)}


def clip_contestants(small: bool) -> dict[str, Callable[[], object]]:
    """The ways from the features of a clip to its windows."""
    denoiser, plain, speech, plain_speech = networks(small)
    generator = torch.Generator().manual_seed(1)
    noises = torch.randn(NUM_WINDOWS, 1, NUM_FRAMES, 333, generator=generator)
    features = torch.randn(NUM_WINDOWS, 1, NUM_FRAMES, 1024, generator=generator)
    seed, speaker = torch.randn(1, 8, 333, generator=generator), torch.tensor([2])
    sampler, stacked = GlobalDiffSampler(seams="flat"), StackedDenoiser(denoiser)

    def published() -> Tensor:
        tail, found = seed, []
        for noise, heard in zip(noises, features, strict=True):
            expressions = plain_speech(heard, speaker)
            window = sampler.smooth(plain_window(plain, noise, speaker, tail, heard, expressions))
            rows = plain_matrices(window[..., :330].unflatten(-1, (55, 6)))[..., :2, :].flatten(-3)
            window = torch.cat([rows, window[..., 330:]], dim=-1)
            found.append(torch.cat([window, expressions], dim=-1))
            tail = window[:, -8:]
        for before, after in pairwise(found):
            before[:, -8:] = after[:, :8] = (before[:, -8:] + after[:, :8]) / 2
        return torch.cat([found[0], *(window[:, 8:] for window in found[1:])], dim=1)

    def ours() -> Tensor:
        expressions = speech(features.flatten(0, 1), speaker.expand(NUM_WINDOWS))[:, None]
        windows = sampler.windows(WindowSampler(stacked, sampler))
        inputs = (WindowInputs(*each, speaker) for each in zip(noises, features, expressions, strict=True))
        return torch.cat(list(windows.run(inputs, seed)), dim=1)

    torch.testing.assert_close(ours(), published(), rtol=1e-3, atol=1e-3)
    return {"published": published, "ours": ours}


def print_table(title: str, times: dict[str, float]) -> None:
    """One Markdown table, ratios against the first row."""
    first = next(iter(times.values()))
    print(f"\n| {title} | ms | times faster |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1e3 * seconds:.1f} | {first / seconds:.2f} |", flush=True)


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        for small, batch_size in ((False, 1), (False, 8), (True, 1)):
            title = f"{'small' if small else 'published'} size, {batch_size} window(s)"
            ways = window_contestants(small, batch_size)
            print_table(title, compare(ways, seconds=2, clock=time.thread_time))
        for small in (False, True):
            title = f"{'small' if small else 'published'} size, a clip of {NUM_WINDOWS} windows"
            print_table(title, compare(clip_contestants(small), seconds=3, clock=time.thread_time))


if __name__ == "__main__":
    main()
