"""Train a small MotionStreamer end to end on procedural motion, and let it follow two prompts as a stream.

Autoencoder, latents, transformer with the two-forward loss, pipeline: every stage of the published system, at a size
that a laptop trains in minutes. The four speakers of the synthetic corpus stand in for captions, one random embedding
for each.

Run:  python examples/train_motionstreamer.py --out runs/motionstreamer
Needs: nothing but cospeech.
Takes: minutes on one CPU core.
CI: --clips 4 --seconds 5 --tae-steps 3 --steps 3 --out smoke
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cospeech.data import CaptionedLatents, collate_latents
from cospeech.data.synthetic import make_clip
from cospeech.hub import save_tensors
from cospeech.models import CausalTAE, CausalTAEConfig, MotionStreamer, MotionStreamerConfig
from cospeech.motion import Motion
from cospeech.pipelines import MotionStreamerPipeline, MotionStreamerSettings, TextPrompt
from cospeech.representations import STREAMER_LAYOUT, FeatureStats, Streamer272
from cospeech.training import (
    draw_two_forward,
    drop_texts,
    encode_latents,
    replaced_fraction,
    tae_step_losses,
    two_forward_loss,
)

TEXT_DIM, NUM_SPEAKERS, WINDOW = 32, 4, 64


def procedural_features(num_clips: int, seconds: float, *, first_seed: int = 0) -> list[torch.Tensor]:
    """Clips as 272 channels, the speakers in turn."""
    representation, features = Streamer272(), []
    for i in range(num_clips):
        clip = make_clip(seconds, speaker=1 + i % NUM_SPEAKERS, seed=first_seed + i)
        motion = Motion.from_local_rotations(
            clip.local_rotations.float(), translation=clip.translation.float(), rate_hz=30
        )
        features.append(representation.encode(motion))
    return features


def train_tae(clips: list[torch.Tensor], steps: int, generator: torch.Generator) -> CausalTAE:
    """The autoencoder on random windows."""
    tae = CausalTAE(CausalTAEConfig(hidden_dim=128))
    optimizer = torch.optim.AdamW(tae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0)
    for step in range(steps):
        windows = []
        for i in torch.randint(len(clips), (8,), generator=generator).tolist():
            start = int(torch.randint(len(clips[i]) - WINDOW + 1, (), generator=generator))
            windows.append(clips[i][start : start + WINDOW])
        motion = torch.stack(windows)
        losses = tae_step_losses(tae, motion, torch.randn(len(motion), WINDOW // 4, 16, generator=generator))
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(tae.parameters(), 1e4)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"autoencoder {step}: {losses.total.item() / motion.numel():.3f} per number")
    return tae.eval()


def train_model(
    items: list[CaptionedLatents], texts: torch.Tensor, empty: torch.Tensor, steps: int, generator: torch.Generator
) -> MotionStreamer:
    """Transformer and head by the two-forward loss."""
    model = MotionStreamer(
        MotionStreamerConfig(
            text_dim=TEXT_DIM, dim=128, num_layers=4, num_heads=4, feedforward_dim=256, head_dim=128, head_layers=3
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.99), weight_decay=1e-6)
    for step in range(steps):
        chosen = torch.randint(len(items), (8,), generator=generator).tolist()
        batch = collate_latents([items[i] for i in chosen])
        text = drop_texts(texts[[int(name) for name in batch.texts]], empty, generator)
        draws = draw_two_forward(model, batch.latents, batch.lengths, generator)
        fraction = replaced_fraction(step, steps)
        loss = two_forward_loss(model, text, batch.latents, batch.lengths, draws, fraction=fraction).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"transformer {step}: {loss.item():.3f}")
    return model.eval()


def main() -> None:
    """Train, save, generate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tae-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("runs/motionstreamer"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)

    features = procedural_features(arguments.clips, arguments.seconds)
    stats = FeatureStats.of(features, STREAMER_LAYOUT)
    normalised = [stats.normalize(clip) for clip in features]

    tae = train_tae(normalised, arguments.tae_steps, generator)
    end = tae.end_latent(torch.randn(16, generator=generator)).detach()
    items = []
    for i, motion in enumerate(normalised):
        noise = torch.randn(len(motion) // 4, 16, generator=generator)
        items.append(CaptionedLatents(str(i % NUM_SPEAKERS), encode_latents(tae, motion, noise, end)))
    texts, empty = torch.randn(NUM_SPEAKERS, TEXT_DIM, generator=generator), torch.zeros(TEXT_DIM)
    model = train_model(items, texts, empty, arguments.steps, generator)

    settings = MotionStreamerSettings(num_steps=50, guidance_scale=2.0)
    pipe = MotionStreamerPipeline(model, tae, stats, empty_text=empty, end_latent=end, settings=settings)
    pipe.save_pretrained(arguments.out)
    save_tensors({"texts": texts}, arguments.out / "texts.safetensors")
    pieces = list(pipe.stream([TextPrompt(texts[0], 2.0), TextPrompt(texts[1], 2.0)]))
    motion = Motion.concatenate(pieces)
    motion.save(arguments.out / "stream.npz")
    print(f"{motion} in {len(pieces)} pieces: {arguments.out / 'stream.npz'}")


if __name__ == "__main__":
    main()
