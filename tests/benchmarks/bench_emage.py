"""EMAGE on speech: the published order of work against ours, on one CPU thread; and how much memory long speech takes.

    python tests/benchmarks/bench_emage.py 60       # seconds of speech; networks of the published sizes
    python tests/benchmarks/bench_emage.py memory   # 1 and 10 minutes, whole and streamed; small networks

The published order: each window hears on its own, all its codes are decoded to feed four frames back, all codes are
decoded once more at the end, and the translation is added up frame by frame. The pipelines do everything, from samples
to a ``Motion``. Memory is what the process grows by while it generates, its networks being there already.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import wave

import torch
import torch.nn.functional as F
from timing import compare

from cospeech.models import (
    EmageConfig,
    EmageGenerator,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
    blank_emage_hints,
    emage_num_frames,
)
from cospeech.nn import optimize
from cospeech.pipelines import EmagePipeline
from cospeech.representations import emage_matrix_to_axis_angle
from cospeech.samplers import plan_masked_windows, seed_masked_window

SAMPLES_PER_FRAME = 533


def make_networks() -> tuple[EmageTransformer, EmageMotionCodec]:
    torch.manual_seed(0)
    sizes = {"face": (106, 2), "upper": (78, 2), "hands": (180, 2), "lower": (61, 4)}
    configs = {part: EmageVQVAEConfig(motion_dim=dim, num_stages=n) for part, (dim, n) in sizes.items()}
    networks = {part: EmageVQVAE(config) for part, config in configs.items()}
    global_motion = EmageGlobalMotion(configs["lower"])
    codec = EmageMotionCodec(**networks, global_motion=global_motion, matrix_to_axis_angle=emage_matrix_to_axis_angle)
    return EmageTransformer(EmageConfig()).eval(), codec.eval()


def finish(codec: EmageMotionCodec, pieces: list[EmageParts]) -> EmageParts:
    return EmageParts(*(torch.cat(column, 1) for column in zip(*pieces, strict=True)))


def published_order(transformer: EmageTransformer, codec: EmageMotionCodec, audio: torch.Tensor) -> EmageParts:
    motion, mask = blank_emage_hints(len(audio), emage_num_frames(audio.shape[1]), like=audio)
    speaker = torch.zeros(len(audio), dtype=torch.long)
    choose, pieces, seed = EmageGenerator(transformer, codec).choose, [], motion[:, :4]
    for window in plan_masked_windows(motion.shape[1], 64, 4, strict_upstream=True):
        frames = slice(window.start, window.start + window.num_frames)
        cut = audio[:, SAMPLES_PER_FRAME * frames.start : SAMPLES_PER_FRAME * frames.stop]
        indices = choose(transformer(cut, *seed_masked_window(motion[:, frames], mask[:, frames], seed), speaker))
        seed = codec.decode(indices).features[:, -4:]
        pieces.append(indices.map(lambda _, x, count=window.num_kept: x[:, :count]))
    indices = finish(codec, pieces)
    channels = codec.global_motion(codec.decode(indices).lower)
    x = [torch.zeros(len(audio), 2)]
    for velocity in channels[..., [54, 56]].unbind(1):
        x.append(x[-1] + velocity / 30)
    return indices


def our_order(transformer: EmageTransformer, codec: EmageMotionCodec, audio: torch.Tensor) -> EmageParts:
    motion, mask = blank_emage_hints(len(audio), emage_num_frames(audio.shape[1]), like=audio)
    speaker = torch.zeros(len(audio), dtype=torch.long)
    generator = EmageGenerator(transformer, codec)
    windows = generator.generate(audio, motion, mask, speaker, strict_upstream=True)
    indices = finish(codec, [window.indices for window in windows])
    codec.translate(codec.decode(indices), torch.zeros(3))
    return indices


def products(transformer: EmageTransformer, num_windows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The operands of the matrix products of so many windows, and nothing of what lies between them."""
    linears = [m for m in transformer.modules() if isinstance(m, torch.nn.Linear)]
    return [(torch.randn(64, m.in_features), m.weight) for m in linears] * num_windows


def main(seconds: float) -> None:
    torch.set_num_threads(1)
    transformer, codec = make_networks()
    packed = optimize(transformer, rows=64)
    pipeline, fast = EmagePipeline(transformer, codec), EmagePipeline(packed, codec)
    audio = torch.randn(1, round(16000 * seconds), generator=torch.Generator().manual_seed(1))
    num_windows = len(plan_masked_windows(emage_num_frames(audio.shape[1]), 64, 4))
    operands = products(transformer, num_windows)
    with torch.inference_mode():
        one, other = published_order(transformer, codec, audio), our_order(packed, codec, audio)
        equal = [bool((a == b).all()) for a, b in zip(one, other, strict=True)]
        times = compare(
            {
                "published order of work": lambda: published_order(transformer, codec, audio),
                "ours": lambda: our_order(transformer, codec, audio),
                "ours, packed weights": lambda: our_order(packed, codec, audio),
                "EmagePipeline": lambda: pipeline(audio[0], source_rate_hz=16000),
                "EmagePipeline, packed weights": lambda: fast(audio[0], source_rate_hz=16000),
                "bare products of the linear layers": lambda: [F.linear(x, w) for x, w in operands],
            },
            seconds=1.0,
        )
    print(f"{seconds:g} s of speech, one thread, codes equal: {all(equal)}\n")
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


def growth(path: str, way: str) -> float:
    """Megabytes by which this process grows while it generates."""
    torch.set_num_threads(1)
    pipeline = small_pipeline()
    list(pipeline.stream(0.1 * torch.randn(80000), source_rate_hz=16000))  # what is set up once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "streamed":
        for _ in pipeline.stream(path):
            pass
    else:
        pipeline(path)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory() -> None:
    print("| minutes of speech | streamed, MB | whole, MB | the motion itself, MB |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 10):
            path = f"{folder}/{minutes}.wav"
            with wave.open(path, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16000)
                file.writeframes((2000 * torch.randn(16000 * 60 * minutes)).to(torch.int16).numpy().tobytes())
            grown = [
                subprocess.run([sys.executable, __file__, "grow", path, way], capture_output=True, text=True).stdout
                for way in ("streamed", "whole")
            ]
            motion = minutes * 1800 * (165 + 3 + 100) * 4 / 1e6
            print(f"| {minutes} | {float(grown[0]):.0f} | {float(grown[1]):.0f} | {motion:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory()
    elif sys.argv[1:2] == ["grow"]:
        print(growth(*sys.argv[2:]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0)
