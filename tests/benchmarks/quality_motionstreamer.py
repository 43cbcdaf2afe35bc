"""What fewer steps of the diffusion head cost in quality, and whether a stream of five minutes drifts.

The published weights cannot be had everywhere, so this judges what ``examples/train_motionstreamer.py`` trained: a
small model on procedural motion. Generated latents are compared with those of clips that it never saw, by the Fréchet
distance of single latents and of pairs of neighbours (which tells whether motion goes on as it should), and decoded
motion by how fast joints move. "unseen clips" is the distance of one half of the unseen clips from the other: less is
not to be had.

    python examples/train_motionstreamer.py --out runs/motionstreamer
    python tests/benchmarks/quality_motionstreamer.py --model runs/motionstreamer [--minutes 5]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from cospeech.hub import load_tensors
from cospeech.metrics import frechet_distance
from cospeech.models import CausalTAE, MotionStreamerGenerator, motionstreamer_steps, sample_latents
from cospeech.pipelines import MotionStreamerPipeline
from cospeech.representations import FeatureStats, streamer_joints
from cospeech.samplers import draw_noise

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from train_motionstreamer import procedural_features

WAYS = tuple((num_steps, solver) for solver in ("ddpm", "ddim") for num_steps in (50, 49, 20, 10, 5))
LONG_WAYS = ((50, "ddpm"), (10, "ddim"))
UNSEEN, CLIP_LATENTS, LATENTS_PER_MINUTE = 10_000, 75, 450


def singles(latents: Tensor) -> Tensor:
    """``(B, L, C)`` to ``(B L, C)``."""
    return latents.flatten(0, 1)


def pairs(latents: Tensor) -> Tensor:
    """Neighbours side by side, ``(B (L - 1), 2 C)``."""
    return torch.cat([latents[:, :-1], latents[:, 1:]], dim=-1).flatten(0, 1)


def speed(tae: CausalTAE, stats: FeatureStats, latents: Tensor) -> float:
    """Mean speed of a joint, metres per second; the first second, in which the decoder warms up, is left out."""
    joints = streamer_joints(stats.denormalize(tae.decode(latents)))[:, 30:]
    return float(joints.diff(dim=1).norm(dim=-1).mean() * 30)


def generate(
    generator: MotionStreamerGenerator, texts: Tensor, empty: Tensor, num_latents: int, *, seed: int = 0
) -> tuple[Tensor, float]:
    """Latents ``(B, L, C)``, and the seconds of CPU that drawing them took."""
    sources = [torch.Generator().manual_seed(seed + i) for i in range(len(texts))]
    shape = (len(texts), generator.model.config.latent_dim)
    state, latents = generator.init_state(texts, empty_text=empty), []
    start = time.thread_time()
    for _ in range(num_latents):
        latent, state = generator.step(state, lambda: draw_noise(shape, sources))
        latents.append(latent)
    return torch.stack(latents, dim=1), time.thread_time() - start


@torch.no_grad()
def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("runs/motionstreamer"))
    parser.add_argument("--streams", type=int, default=16, help="of each way of sampling and of the long stream")
    parser.add_argument("--minutes", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipe = MotionStreamerPipeline.from_pretrained(arguments.model)
    texts, empty = load_tensors(arguments.model / "texts.safetensors")["texts"], pipe.empty_text
    texts = texts.repeat(-(-arguments.streams // len(texts)), 1)[: arguments.streams]

    features = procedural_features(2 * arguments.streams, CLIP_LATENTS / 7.5, first_seed=UNSEEN)
    motion = torch.stack([pipe.stats.normalize(clip) for clip in features])
    encoded = pipe.tae.encode(motion)
    noise = torch.randn(encoded.mean.shape, generator=torch.Generator().manual_seed(1))
    unseen, others = sample_latents(encoded, noise).chunk(2)

    def row(latents: Tensor) -> str:
        single, pair = (
            frechet_distance(singles(latents), singles(unseen)),
            frechet_distance(pairs(latents), pairs(unseen)),
        )
        return f"{single:.2f} | {pair:.2f} | {speed(pipe.tae, pipe.stats, latents):.3f}"

    print("| steps | solver | Fréchet, latents | Fréchet, pairs | joint speed m/s | CPU ms per latent and stream |")
    print("|---|---|---|---|---|---|")
    print(f"| | unseen clips | {row(others)} | |")
    for num_steps, solver in WAYS:
        latents, taken = generate(sampled(pipe, num_steps, solver), texts, empty, CLIP_LATENTS)
        each = 1e3 * taken / latents[..., 0].numel()
        print(f"| {num_steps} | {solver} | {row(latents)} | {each:.2f} |", flush=True)

    print("\n| minute | steps | solver | Fréchet, latents | Fréchet, pairs | joint speed m/s | mean size of a latent |")
    print("|---|---|---|---|---|---|---|")
    print(f"| unseen clips | | | {row(others)} | {float(unseen.norm(dim=-1).mean()):.2f} |")
    for num_steps, solver in LONG_WAYS:
        latents, _ = generate(sampled(pipe, num_steps, solver), texts, empty, arguments.minutes * LATENTS_PER_MINUTE)
        for minute, part in enumerate(latents.split(LATENTS_PER_MINUTE, dim=1), start=1):
            size = float(part.norm(dim=-1).mean())
            print(f"| {minute} | {num_steps} | {solver} | {row(part)} | {size:.2f} |", flush=True)


def sampled(pipe: MotionStreamerPipeline, num_steps: int, solver: str) -> MotionStreamerGenerator:
    """The pipeline's generator with other steps."""
    steps = motionstreamer_steps(num_steps, num_timesteps=pipe.model.config.num_timesteps, solver=solver)
    return MotionStreamerGenerator(pipe.model, steps=steps, guidance_scale=pipe.settings.guidance_scale)


if __name__ == "__main__":
    main()
