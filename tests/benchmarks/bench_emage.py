"""EMAGE on speech: the published order of work against ours, on one CPU thread; and how much memory long speech takes.

    python tests/benchmarks/bench_emage.py 60                # seconds of speech; networks of the published sizes
    python tests/benchmarks/bench_emage.py memory            # 1 and 10 minutes, whole and streamed; small networks
    python tests/benchmarks/bench_emage.py memory published  # the same streamed, networks of the published sizes

The published order is ``emage_plain``. Everybody goes from samples to rotations, expressions and translation. The bare
products are all that ``nn.Linear`` and the convolutions do in a run of ours, with as many rows, and nothing of what
lies between them. Memory is what the process grows by while it generates, its networks being there already.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import wave

import torch
from emage_plain import PlainEmage
from timing import compare
from torch import nn

from cospeech.models import (
    EmageConfig,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
    emage_num_frames,
)
from cospeech.nn import ChannelsLastConv1d
from cospeech.pipelines import EmagePipeline, make_emage_codec


def make_networks() -> tuple[EmageTransformer, EmageMotionCodec]:
    torch.manual_seed(0)
    sizes = {"face": (106, 2), "upper": (78, 2), "hands": (180, 2), "lower": (61, 4)}
    configs = {part: EmageVQVAEConfig(motion_dim=dim, num_stages=n) for part, (dim, n) in sizes.items()}
    networks = {part: EmageVQVAE(config) for part, config in configs.items()}
    return EmageTransformer(EmageConfig()).eval(), make_emage_codec(networks, EmageGlobalMotion(configs["lower"]))


def products(pipeline: EmagePipeline, audio: torch.Tensor) -> list[tuple[nn.Module, torch.Tensor]]:
    """The layers that multiply in a run of the pipeline, call by call, each with an input of the same shape."""
    inputs: dict[torch.Size, torch.Tensor] = {}
    calls: list[tuple[nn.Module, torch.Tensor]] = []

    def note(layer: nn.Module, given: tuple[torch.Tensor], _: object) -> None:
        x = given[0]
        calls.append((layer, inputs.setdefault(x.shape, torch.empty_like(x).normal_())))

    networks = (pipeline._runner._transformer, pipeline._runner._codec)
    layers = [m for n in networks for m in n.modules() if isinstance(m, nn.Linear | nn.Conv1d | ChannelsLastConv1d)] + [
        m for n in networks for m in n.modules() if type(m).__module__ == "cospeech.nn.optimization"
    ]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    pipeline(audio, source_rate_hz=16000)
    for hook in hooks:
        hook.remove()
    return calls


def codes(pipeline: EmagePipeline, audio: torch.Tensor) -> EmageParts:
    """What the pipeline says, in the published frames."""
    found: list[EmageParts] = []
    decoder = pipeline._runner._decoder
    step = decoder.step
    decoder.step = lambda indices, state: (found.append(indices), step(indices, state))[1]
    pipeline(audio, source_rate_hz=16000, strict_upstream=True)
    del decoder.step
    return EmageParts(*(torch.cat(column, 1) for column in zip(*found, strict=True)))


def main(seconds: float) -> None:
    torch.set_num_threads(1)
    transformer, codec = make_networks()
    plain, ours = PlainEmage(transformer, codec), EmagePipeline(transformer, codec)
    packed, small = ours.optimize(), ours.optimize(precision="int8")
    audio = torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(1))
    calls, packed_calls = products(ours, audio), products(packed, audio)

    def run(calls: list[tuple[nn.Module, torch.Tensor]]) -> None:
        with torch.inference_mode():
            for layer, x in calls:
                layer(x)

    wanted = plain(audio[None])[0]
    for name, pipeline in (("plain weights", ours), ("packed weights", packed), ("int8", small)):
        said = codes(pipeline, audio)
        equal = [f"{part} {(x == wanted[part]).float().mean():.4f}" for part, x in said._asdict().items()]
        print(f"codes equal to the published order's, {name}: {', '.join(equal)}")
    times = compare(
        {
            "published order of work": lambda: plain(audio[None]),
            "`EmagePipeline`, samples to `Motion`": lambda: ours(audio, source_rate_hz=16000),
            "`optimize()`, packed weights": lambda: packed(audio, source_rate_hz=16000),
            '`optimize(precision="int8")`': lambda: small(audio, source_rate_hz=16000),
            "bare products, plain weights": lambda: run(calls),
            "bare products, packed weights": lambda: run(packed_calls),
        },
        seconds=1.0,
        clock=time.thread_time,
    )
    print(f"\n{seconds:g} s of speech, {emage_num_frames(len(audio))} frames, seconds of one thread\n")
    print("| | seconds | times as fast |\n| --- | --- | --- |")
    for name, value in times.items():
        print(f"| {name} | {value:.2f} | {times['published order of work'] / value:.2f} |")


def small_pipeline() -> EmagePipeline:
    torch.manual_seed(0)
    sizes = {"face": 106, "upper": 78, "hands": 180, "lower": 61}
    configs = {part: EmageVQVAEConfig(motion_dim=n, latent_dim=16, num_codes=16) for part, n in sizes.items()}
    networks = {part: EmageVQVAE(config) for part, config in configs.items()}
    codec = EmageMotionCodec(**networks, global_motion=EmageGlobalMotion(configs["lower"]))
    sizes = {"hidden_dim": 32, "feedforward_dim": 32, "audio_dim": 16, "num_audio_layers": 1, "num_face_layers": 1}
    return EmagePipeline(EmageTransformer(EmageConfig(**sizes, code_dim=16, num_codes=16)), codec)


def growth(path: str, way: str, size: str) -> float:
    """Megabytes by which this process grows while it generates."""
    torch.set_num_threads(1)
    pipeline = EmagePipeline(*make_networks()) if size == "published" else small_pipeline()
    list(pipeline.stream(0.1 * torch.randn(80000), source_rate_hz=16000))  # what is set up once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "streamed":
        for _ in pipeline.stream(path):
            pass
    else:
        pipeline(path)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory(size: str) -> None:
    ways = ("streamed",) if size == "published" else ("streamed", "whole")
    print(f"networks: {size}\n")
    print(f"| minutes of speech | {' | '.join(f'{way}, MB' for way in ways)} | the motion itself, MB |")
    print("| --- " * (len(ways) + 2) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 10):
            path = f"{folder}/{minutes}.wav"
            with wave.open(path, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes((2000 * torch.randn(16000 * 60 * minutes)).to(torch.int16).numpy().tobytes())
            grown = [
                subprocess.run(
                    [sys.executable, __file__, "grow", path, way, size], capture_output=True, text=True
                ).stdout
                for way in ways
            ]
            motion = minutes * 1800 * (165 + 3 + 100) * 4 / 1e6
            print(f"| {minutes} | {' | '.join(f'{float(mb):.0f}' for mb in grown)} | {motion:.0f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory(sys.argv[2] if len(sys.argv) > 2 else "small")
    elif sys.argv[1:2] == ["grow"]:
        print(growth(*sys.argv[2:]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0)
