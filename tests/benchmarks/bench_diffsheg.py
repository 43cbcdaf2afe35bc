"""DiffSHEG at the published sizes on one CPU thread: the published order of work against ours, same numbers.

    python tests/benchmarks/bench_diffsheg.py            # both configurations, a few minutes
    python tests/benchmarks/bench_diffsheg.py beat 1     # one of them, seconds for each contestant

"plain" does in every evaluation what the published program does: time and speaker perceptrons, the linear layers of
every style, both encoders of speech features, the audio encoder, the whole fusion (for both halves of a guided batch),
a LayerNorm before each of query, key and value. "prepared" is this library's order. "packed" is the same after
``optimize``. "products" are the matrix products of a prepared evaluation alone, the time that order of work cannot
beat, with plain and with packed weights. A row is a window that continues another; features are given.
"""

from __future__ import annotations

import sys
import time

import torch
import torch.nn.functional as F
from timing import compare
from torch import Tensor, nn

from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.nn import optimize, timestep_embedding
from cospeech.pipelines import DiffSHEGSampling

CONFIGS = {
    "beat": (DiffSHEGConfig(), DiffSHEGSampling()),
    "show": (DiffSHEGConfig.show(), DiffSHEGSampling.show()),
}


def plain_style(style: nn.Module, y: Tensor, condition: Tensor) -> Tensor:
    """FiLM from the condition, every time."""
    scale, shift = style.condition(F.silu(condition))[:, None].chunk(2, -1)
    return style.out(F.silu(style.norm(y) * (1 + scale) + shift))


def plain_layer(layer: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    """Attention and feed-forward as published: three products after three normalisations."""
    weights = layer.attention.query_key_value.weight.chunk(3)
    biases = layer.attention.query_key_value.bias.chunk(3)
    heads = layer.attention.num_heads
    query, key, value = (
        F.linear(layer.attention_norm(x), weight, bias).unflatten(-1, (heads, -1))
        for weight, bias in zip(weights, biases, strict=True)
    )
    summary = torch.einsum("bnhd,bnhl->bhdl", key.softmax(1), value)
    y = torch.einsum("bnhd,bhdl->bnhl", query.softmax(-1), summary).flatten(-2)
    x = x + plain_style(layer.attention_style, y, condition)
    return x + plain_style(layer.feedforward_style, layer.feedforward(x), condition)


def plain_branch(branch: nn.Module, weights: list, x: Tensor, positions: Tensor, *conditions: Tensor, scale: float):
    """One branch; for guidance everything is doubled."""
    embedded, speaker, audio, speech, estimate = conditions
    x = branch.motion_in(x) + positions
    if scale != 1:
        doubled = (x, embedded, speaker, audio, speech, estimate)
        x, embedded, speaker, audio, speech, estimate = (None if t is None else torch.cat([t, t]) for t in doubled)
    condition = branch.time_embedding(embedded) + branch.speaker_embedding(speaker)
    audio, encoded = branch.audio_in(audio), branch.speech_encoder(speech)
    context = [audio, encoded] if estimate is None else [audio, encoded, estimate]
    for layer, weight in zip(branch.layers, weights, strict=True):
        fused = torch.cat([x, *context], -1)
        if scale != 1:
            half = len(x) // 2
            fused = torch.cat([fused[:half], branch.null_condition.expand(half, x.shape[1], -1)])
        fusion = layer.fusion
        x = x + fusion.out(F.silu(F.linear(fusion.norm(fused), weight, fusion.bias)))
        x = plain_layer(layer.layer, x, condition)
    noise = branch.out(x)
    if scale == 1:
        return noise
    conditional, without = noise.chunk(2)
    return without + scale * (conditional - without)


def plain_evaluation(denoiser, joined, noisy, timestep, mel, speech, speaker, scale):
    """The whole network in the published order."""
    config = denoiser.config
    embedded = timestep_embedding(timestep, config.hidden_dim)
    encoded = plain_layer(denoiser.audio_encoder, 2 * mel, denoiser.time_embedding(embedded))
    audio = torch.cat([mel, encoded], -1)
    positions = denoiser.positions[: noisy.shape[1]]
    parts, estimate = {}, None
    of_noisy, of_noise = denoiser._clean_weights(timestep[None], noisy)[0]
    for name in config.branches:
        motion = noisy[..., config.channels(name)]
        parts[name] = plain_branch(
            denoiser.branches[name],
            joined[name],
            motion,
            positions,
            embedded,
            speaker,
            audio,
            speech,
            estimate,
            scale=scale,
        )
        estimate = of_noisy * motion - of_noise * parts[name]
    return torch.cat([parts["gesture"], parts["expression"]], -1)


def products(linears: list[nn.Module], inputs: list[Tensor]):
    """The matrix products of an evaluation and nothing else."""
    for linear, x in zip(linears, inputs, strict=True):
        linear(x)


def record_products(denoiser: nn.Module, evaluate) -> tuple[list[nn.Module], list[Tensor]]:
    """The linear layers in the order of an evaluation, with their inputs."""
    linears, inputs, handles = [], [], []

    def keep(module, args, output):
        linears.append(module)
        inputs.append(args[0].clone())

    for module in denoiser.modules():
        if isinstance(module, nn.Linear) or type(module).__name__.endswith("Linear"):
            handles.append(module.register_forward_hook(keep))
    evaluate()
    for handle in handles:
        handle.remove()
    return linears, inputs


@torch.inference_mode()
def run(name: str, seconds: float) -> None:
    config, sampling = CONFIGS[name]
    denoiser = DiffSHEGDenoiser(config).eval()
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    num_frames, scale = sampling.window_frames, sampling.guidance_scale
    noisy, mel = torch.randn(1, num_frames, config.motion_dim), torch.rand(1, num_frames, config.mel_dim)
    speech, speaker = torch.randn(1, num_frames, config.speech_feature_dim), torch.tensor([1])
    foppas = sampling.foppas()
    timesteps = torch.tensor(foppas.timesteps(inpainted=True))
    calls, new_frames = foppas.num_calls(inpainted=True), num_frames - sampling.overlap_frames
    packed = optimize(denoiser, rows=num_frames)
    joined = {}
    for branch_name, branch in denoiser.branches.items():
        joined[branch_name] = [
            torch.cat([part.weight for part in layer.fusion._parts()], 1).contiguous() for layer in branch.layers
        ]

    networks = {"prepared": denoiser, "packed": packed}
    conditionings, contestants = {}, {}
    contestants["plain"] = lambda: plain_evaluation(denoiser, joined, noisy, timesteps[:1], mel, speech, speaker, scale)
    for label, network in networks.items():
        modulations = network.modulate(speaker, timesteps)

        def prepare(network=network, modulations=modulations):
            return network.prepare(mel, speech, speaker, timesteps, modulations=modulations, guidance_scale=scale)

        conditionings[label] = prepare()

        def evaluate(network=network, conditioning=conditionings[label][0]):
            return network.denoise(noisy, conditioning)

        linears, inputs = record_products(network, evaluate)
        contestants[f"{label}, preparing"] = prepare
        contestants[label] = evaluate
        contestants[f"{label}, products"] = lambda linears=linears, inputs=inputs: products(linears, inputs)
    contestants["modulating"] = lambda: denoiser.modulate(speaker, timesteps)

    reference = contestants["plain"]()
    for label in networks:
        error = (contestants[label]() - reference).abs().max() / reference.std()
        print(f"{name}, {label}: largest difference from plain {error:.1e} of the spread")
    times = compare(contestants, seconds=seconds)

    plain_window = calls * times["plain"]
    print(f"\n{name}: {calls} evaluations for {new_frames} new frames, guidance {scale:g}\n")
    print(
        "| order of work | evaluation, ms | preparing a window, ms | window, s | frames/s | x plain | x its products |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rate = new_frames / plain_window
    print(f"| plain | {1e3 * times['plain']:.1f} | | {plain_window:.2f} | {rate:.1f} | 1 | |")
    for label in networks:
        window = calls * times[label] + times[f"{label}, preparing"]
        bound = window / (calls * times[f"{label}, products"])
        print(
            f"| {label} | {1e3 * times[label]:.1f} | {1e3 * times[f'{label}, preparing']:.0f} | {window:.2f} "
            f"| {new_frames / window:.1f} | {plain_window / window:.2f} | {bound:.2f} |"
        )
    steps = sampling.num_steps
    first = steps * times["packed"] + times["packed, preparing"] * steps / len(timesteps) + times["modulating"]
    print(f"\nOnce for a speaker {1e3 * times['modulating']:.0f} ms; the first window, packed, takes {first:.2f} s.\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    start = time.perf_counter()
    names = [argument for argument in sys.argv[1:] if argument in CONFIGS] or list(CONFIGS)
    numbers = [float(argument) for argument in sys.argv[1:] if argument not in CONFIGS]
    for name in names:
        run(name, numbers[0] if numbers else 4.0)
    print(f"{time.perf_counter() - start:.0f} s in all")
