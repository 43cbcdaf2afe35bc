"""DiffSHEG at the published sizes on one CPU thread: the published order of work against ours, same numbers.

    python tests/benchmarks/bench_diffsheg.py            # both configurations, some minutes
    python tests/benchmarks/bench_diffsheg.py beat 1     # one of them, seconds for each contestant

"published" is ``published_diffsheg.py``, stock layers and nothing kept from one evaluation to the next. "prepared" is
this library's order of work on plain layers. "packed" is the same on the layers that ``cospeech.nn.optimize`` found
fastest, "buffered" ``BufferedDiffSHEG``; ``optimize_diffsheg`` takes the faster of the two. "int8" rounds the operands
of the products. "products" are the matrix products of a prepared evaluation alone, on the same rows, the time that this
order of work cannot beat: plain layers, packed ones, and bare products into memory that is there already.

A row is a window that continues another; speech features are given, and what they cost is a row of its own (HuBERT
large as published, with random weights, where transformers is installed).
"""

from __future__ import annotations

import sys
import time

import torch
from published_diffsheg import PublishedDiffSHEG
from timing import compare
from torch import Tensor, nn

from cospeech.audio import SpeechEncoder
from cospeech.audio.diffsheg import HubertTrack, diffsheg_mel
from cospeech.hub.convert.diffsheg import diffsheg_to_published
from cospeech.models import BufferedDiffSHEG, DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.nn import optimize
from cospeech.pipelines import DiffSHEGSampling
from cospeech.schedulers import NoiseSchedule, linear_betas, strided_spacing

CONFIGS = {
    "beat": (DiffSHEGConfig(), DiffSHEGSampling(), 15),
    "show": (DiffSHEGConfig.show(), DiffSHEGSampling.show(), 30),
}
LEVEL = 7  # of 25, in the middle of a window that continues another


def record_products(denoiser: nn.Module, evaluate) -> list[tuple[nn.Module, Tensor]]:
    """The linear layers in the order of an evaluation, with their inputs."""
    products, handles = [], []

    def keep(module, args, output):
        products.append((module, args[0].clone()))

    for module in denoiser.modules():
        if isinstance(module, nn.Linear) or type(module).__name__.endswith("Linear"):
            handles.append(module.register_forward_hook(keep))
    evaluate()
    for handle in handles:
        handle.remove()
    return products


def run_products(products):
    for linear, x in products:
        linear(x)


def bare_products(products):
    """The same as calls of the BLAS on weights that lie input by input, results overwritten in place."""
    held = [(x.flatten(0, -2), linear.weight.t().contiguous()) for linear, x in products]
    results = {(len(x), weight.shape[1]): torch.empty(len(x), weight.shape[1]) for x, weight in held}

    def run():
        for x, weight in held:
            torch.mm(x, weight, out=results[len(x), weight.shape[1]])

    return run


def feature_extractors(frame_rate_hz: int, seconds: float):
    """Mel and HuBERT of one window."""
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        conv_bias=True,
    )
    track = HubertTrack(SpeechEncoder(HubertModel(config).eval(), normalizes=True))
    waveform = torch.randn(int(16000 * seconds))
    return {
        "mel": lambda: diffsheg_mel(waveform, 16000.0, frame_rate_hz=frame_rate_hz),
        "HuBERT": lambda: track(waveform, round(seconds * frame_rate_hz)),
    }


@torch.inference_mode()
def run(name: str, seconds: float) -> None:
    config, sampling, frame_rate_hz = CONFIGS[name]
    denoiser = DiffSHEGDenoiser(config).eval()
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    num_frames, scale = sampling.window_frames, sampling.guidance_scale
    schedule = NoiseSchedule(linear_betas(1000)).respace(strided_spacing(1000, sampling.num_steps))
    with torch.device("meta"):
        published = PublishedDiffSHEG(config, schedule, scale).eval()
    published.load_state_dict(diffsheg_to_published(denoiser), assign=True)

    noisy, mel = torch.randn(1, num_frames, config.motion_dim), torch.rand(1, num_frames, config.mel_dim)
    speech, speaker = torch.randn(1, num_frames, config.speech_feature_dim), torch.tensor([1])
    known = torch.randn(1, sampling.overlap_frames, config.motion_dim)
    generator, level = torch.Generator().manual_seed(0), torch.tensor([LEVEL])
    person = nn.functional.one_hot(speaker, config.num_speakers).float()
    foppas = sampling.foppas()
    timesteps = torch.tensor(foppas.timesteps(inpainted=True))
    at = timesteps.tolist().index(schedule.timesteps[LEVEL])
    calls, new_frames = foppas.num_calls(inpainted=True), num_frames - sampling.overlap_frames
    rows = num_frames if scale == 1 else 2 * num_frames

    def draw(kind, shape):
        return torch.randn(*shape, generator=generator)

    networks = {
        "prepared": denoiser,
        "packed": optimize(denoiser, rows=rows),
        "buffered": BufferedDiffSHEG(denoiser).eval(),
        "int8": optimize(denoiser, precision="int8", rows=rows),
    }
    given = (mel, speech, person)
    contestants = {"published": lambda: published.step(noisy, level, known, *given, generator)}
    reference, errors = published(noisy, level, *given), {}
    for label, network in networks.items():
        modulations = network.modulate(speaker, timesteps)

        def prepare(network=network, modulations=modulations):
            return network.prepare(mel, speech, speaker, timesteps, modulations=modulations, guidance_scale=scale)

        conditioning = prepare()[at]

        def evaluate(network=network, conditioning=conditioning):
            return network.denoise(noisy, conditioning)

        def step(evaluate=evaluate):
            sample = foppas.steps.step(evaluate(), schedule.timesteps[LEVEL], noisy)
            return foppas._replace(sample, known, LEVEL, draw, None)

        errors[label] = (evaluate() - reference).abs().max() / reference.std()
        contestants[f"{label}, preparing"], contestants[label] = prepare, step
        if label in ("prepared", "packed"):
            products = record_products(network, evaluate)
            contestants[f"{label}, products"] = lambda products=products: run_products(products)
        if label == "prepared":
            contestants["buffered, products"] = bare_products(products)
    contestants["modulating"] = lambda: denoiser.modulate(speaker, torch.tensor(foppas.steps.clock))
    times = compare(contestants, seconds=seconds, clock=time.thread_time)
    features = compare(
        feature_extractors(frame_rate_hz, new_frames / frame_rate_hz), seconds=seconds, clock=time.thread_time
    )

    slow = calls * times["published"]
    bound = calls * times["buffered, products"]
    print(f"\n{name}: {calls} evaluations for {new_frames} new frames, guidance {scale:g}\n")
    print(
        "| order of work | step, ms | preparing, ms | window, s | frames/s | x published | x its products "
        "| x bare products | first frame, s | features, share | difference |\n" + "| --- " * 11 + "|"
    )
    heard = sum(features.values())
    print(
        f"| published | {1e3 * times['published']:.1f} | | {slow:.2f} | {new_frames / slow:.1f} | 1 | "
        f"| {slow / bound:.2f} | {sampling.num_steps * times['published']:.2f} | {heard / (heard + slow):.0%} | |"
    )
    for label in networks:
        preparing = times[f"{label}, preparing"]
        window = calls * times[label] + preparing
        own = f"{label}, products"
        ratio = f"{window / (calls * times[own]):.2f}" if own in times else ""
        first = sampling.num_steps * (times[label] + preparing / len(timesteps)) + times["modulating"]
        print(
            f"| {label} | {1e3 * times[label]:.1f} | {1e3 * preparing:.0f} | {window:.2f} | {new_frames / window:.1f} "
            f"| {slow / window:.2f} | {ratio} | {window / bound:.2f} | {first:.2f} | {heard / (heard + window):.0%} "
            f"| {errors[label]:.0e} |"
        )
    print(
        f"\nBeside that, once for a speaker {1e3 * times['modulating']:.0f} ms, and for the features of a window "
        f"{1e3 * features['HuBERT']:.0f} ms of HuBERT and {1e3 * features['mel']:.1f} ms of mel."
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    start = time.perf_counter()
    names = [argument for argument in sys.argv[1:] if argument in CONFIGS] or list(CONFIGS)
    numbers = [float(argument) for argument in sys.argv[1:] if argument not in CONFIGS]
    print("Speech features are given; the first frame comes after a window. `difference` is the largest one from")
    print("published, in spreads of the result.")
    for name in names:
        run(name, numbers[0] if numbers else 4.0)
    print(f"\n{time.perf_counter() - start:.0f} s in all")
