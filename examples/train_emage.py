"""Train EMAGE from recordings: VQ-VAEs of four parts, global motion, transformer; then judge what was held out.

    python examples/train_emage.py --motion take.npz --audio take.wav   # a small one, some CPU minutes
    python examples/train_emage.py --list beat2_s20_l64_speaker2.json --published  # published sizes; wants a GPU
    python examples/train_emage.py                                      # on procedural speech and motion

BEAT2 must be obtained from its authors. Two tenths of the time are held out. Printed at the end: how far the codes'
reconstruction of held-out frames is from the truth beside the mean pose of the training frames, and how often the
transformer says the held-out codes beside always saying the most frequent one. ``--out`` keeps the pipeline.

Needs: nothing but cospeech; recordings from BEAT2's authors for more than procedural motion.
Takes: minutes on one CPU core; published sizes want a GPU.
CI: --seconds 14 --vq-steps 12 --steps 3 --hidden 32 --batch-size 4 --transformer-batch-size 4
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech import load_pipeline
from cospeech.data import EmageBatch, EmageTake, EmageWindows, emage_take, load_emage_take, read_window_list
from cospeech.data.synthetic import make_clip
from cospeech.models import (
    EmageConfig,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
    VQVAEOutput,
)
from cospeech.motion import Motion
from cospeech.nn import EmaCodebook
from cospeech.pipelines import EmagePipeline, make_emage_codec
from cospeech.rotations import geodesic_distance, rot6d_to_matrix
from cospeech.training import (
    draw_emage_mask,
    emage_losses,
    emage_mask_ratio,
    emage_parts,
    emage_targets,
    emage_vq_adam,
    global_motion_losses,
    vqvae_losses,
)

PART_DIMS = {"face": 106, "upper": 78, "hands": 180, "lower": 61}
NUM_STAGES = {"face": 2, "upper": 2, "hands": 2, "lower": 4}
WINDOW_FRAMES = 64


def load_takes(arguments: argparse.Namespace) -> list[EmageTake]:
    """The recording that was given, or a procedural one."""
    if arguments.motion:
        return [load_emage_take(arguments.motion, arguments.audio)]
    clip = make_clip(arguments.seconds, speaker=1, seed=arguments.seed)
    motion = Motion.from_local_rotations(
        clip.local_rotations, translation=clip.translation, expressions=clip.expressions, rate_hz=30
    )
    return [emage_take(motion, clip.waveform, name="procedural")]


def split_windows(takes: list[EmageTake], stride: int) -> tuple[EmageWindows, EmageWindows]:
    """Windows for training and, disjoint in time, for testing: the fourth and the eighth tenth of each take."""
    windows = EmageWindows.cut(takes, window_frames=WINDOW_FRAMES, stride_frames=stride)
    ends = [len(take.rot6d) for take in takes]
    train, test = [], []
    for number, start in windows.windows:
        held = [(ends[number] * k // 10, ends[number] * (k + 1) // 10) for k in (3, 7)]
        inside = any(first <= start and start + WINDOW_FRAMES <= last for first, last in held)
        outside = all(start + WINDOW_FRAMES <= first or last <= start for first, last in held)
        if outside:
            train.append((number, start))
        elif inside:
            test.append((number, start))
    if not test:  # too short a take for windows to fit into a tenth of it: the end is held out
        last = max(start for _, start in windows.windows)
        train = [(n, s) for n, s in windows.windows if s + WINDOW_FRAMES <= last]
        test = [(n, s) for n, s in windows.windows if s == last]
    return tuple(EmageWindows(takes, chosen, window_frames=WINDOW_FRAMES) for chosen in (train, test))


def batches(windows: EmageWindows, steps: int, size: int, generator: torch.Generator) -> Iterator[EmageBatch]:
    """Random windows; a batch is of one kind, kinds take turns by how many windows they have."""
    kinds = windows.kinds()
    weights = torch.tensor([float(len(kind)) for kind in kinds])
    for _ in range(steps):
        kind = kinds[int(torch.multinomial(weights, 1, generator=generator))]
        rows = torch.randint(len(kind), (size,), generator=generator)
        yield windows.batch([kind[row] for row in rows.tolist()])


class Report:
    """Prints how losses fall: the mean of the first tenth of the steps, and of the last."""

    def __init__(self, name: str, steps: int):
        self.name, self.steps, self.start = name, steps, time.perf_counter()
        self.terms: list[dict[str, float]] = []

    def __call__(self, terms: dict[str, Tensor]) -> None:
        """Take in the terms of a step; speak after the last."""
        self.terms.append({name: value.item() for name, value in terms.items()})
        if len(self.terms) == self.steps:
            tenth = max(1, self.steps // 10)
            print(f"{self.name}: {self.steps} steps in {time.perf_counter() - self.start:.0f} s")
            for name in terms:
                first, last = (
                    sum(step[name] for step in some) / tenth for some in (self.terms[:tenth], self.terms[-tenth:])
                )
                if first or last:
                    print(f"  {name:22s} {first:9.4f} -> {last:9.4f}", flush=True)


def step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step; gradients are clipped at the norm that the paper names, which its program does without effect."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.99)
    optimizer.step()


class Unquantized(nn.Module):
    """The networks of a VQ-VAE without its codes: what learns first at small sizes."""

    def __init__(self, vqvae: EmageVQVAE):
        super().__init__()
        self.vqvae = vqvae

    def forward(self, motion: Tensor) -> VQVAEOutput:
        """See ``EmageVQVAE.forward``."""
        latents = self.vqvae.encode(motion)
        return VQVAEOutput(self.vqvae.decoder(latents), latents, latents, torch.empty(0))


def train_part(part: str, windows: EmageWindows, arguments: argparse.Namespace) -> EmageVQVAE:
    """One VQ-VAE. The published rule learns codes by gradients from the first step on, for hundreds of epochs.

    With ``--published`` so do we. Else encoder and decoder learn without codes first, codes begin where k-means finds
    latents, and then follow them by running means.
    """
    config = EmageVQVAEConfig(
        motion_dim=PART_DIMS[part],
        num_stages=NUM_STAGES[part] if arguments.published else 2,  # four learn slowly
        latent_dim=arguments.code_dim,
        num_codes=arguments.num_codes,
    )
    vqvae, generator = EmageVQVAE(config).train(), torch.Generator().manual_seed(arguments.seed)
    codebook = None
    if not arguments.published:
        start_at_mean(vqvae, windows, part)
        codebook = EmaCodebook(vqvae.quantizer, decay=0.97, revive_below=0.05)
    optimizer = emage_vq_adam([p for p in vqvae.parameters() if p.requires_grad], arguments.vq_learning_rate)
    report, first_codes = Report(f"VQ-VAE of {part}", arguments.vq_steps), arguments.vq_steps * 2 // 3
    for number, batch in enumerate(batches(windows, arguments.vq_steps, arguments.batch_size, generator)):
        motion = getattr(emage_parts(batch), part)
        if motion is None:
            continue
        with_codes = codebook is None or number >= first_codes
        losses = vqvae_losses(part, vqvae if with_codes else Unquantized(vqvae), motion)
        step(losses.total, optimizer)
        if codebook is not None and number >= first_codes - 1:
            latents = vqvae.encode(motion).detach()
            if number == first_codes - 1:
                codebook.start(latents, generator=generator)
            codebook.update(latents, vqvae.quantizer.nearest(latents), generator=generator)
        report({**losses._asdict(), "total": losses.total.detach()})
    return vqvae.eval()


@torch.no_grad()
def start_at_mean(vqvae: EmageVQVAE, windows: EmageWindows, part: str) -> None:
    """A last layer that says the mean pose, so that training starts from there and not from nothing."""
    motion = getattr(emage_parts(windows.batch(windows.kinds()[0])), part)
    if motion is not None:
        vqvae.decoder.out.bias.copy_(motion.flatten(0, 1).mean(0))
        vqvae.decoder.out.weight.mul_(0.5)


def train_global_motion(windows: EmageWindows, arguments: argparse.Namespace) -> EmageGlobalMotion:
    config = EmageVQVAEConfig(motion_dim=61, num_stages=4 if arguments.published else 2, latent_dim=arguments.code_dim)
    network, generator = EmageGlobalMotion(config).train(), torch.Generator().manual_seed(arguments.seed)
    optimizer = emage_vq_adam(network.parameters(), arguments.vq_learning_rate)
    report = Report("global motion", arguments.vq_steps)
    for batch in batches(windows, arguments.vq_steps, arguments.batch_size, generator):
        lower = emage_parts(batch).lower
        if lower is not None:
            losses = global_motion_losses(network, lower, batch.translation)
            step(losses.total, optimizer)
            report({**losses._asdict(), "total": losses.total.detach()})
    return network.eval()


def train_transformer(
    model: EmageTransformer, codec: EmageMotionCodec, windows: EmageWindows, arguments: argparse.Namespace
) -> None:
    """Published: a constant rate. Few steps get further with one that rises, then falls along a cosine."""
    generator = torch.Generator().manual_seed(arguments.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.learning_rate, fused=True)
    report = Report("transformer", arguments.steps)
    model.train()
    for number, batch in enumerate(batches(windows, arguments.steps, arguments.transformer_batch_size, generator)):
        if not arguments.published:
            share = min(1, number / 20) * (0.5 + 0.5 * math.cos(math.pi * number / arguments.steps))
            optimizer.param_groups[0]["lr"] = arguments.learning_rate * max(0.05, share)
        targets = emage_targets(codec, batch)
        ratio = emage_mask_ratio(number, arguments.steps)
        mask = draw_emage_mask(targets.motion.shape, ratio, generator)
        losses = emage_losses(model, targets, batch.waveform, batch.speaker, mask)
        step(losses.total, optimizer)
        report({**losses._asdict(), "total": losses.total.detach()})
    model.eval()


@torch.no_grad()
def judge_codes(codec: EmageMotionCodec, train: EmageWindows, test: EmageWindows) -> dict[str, tuple[float, float]]:
    """For each part, degrees between its joints and the truth: of the reconstruction, and of the mean pose.

    For the face also the expressions' root mean square error, named ``expressions``.
    """
    seen, held = (emage_parts(windows.batch(range(len(windows)))) for windows in (train, test))
    found = {}
    for part, truth in held._asdict().items():
        count = 6 * (PART_DIMS[part] // 6 if part != "face" else 1) if part != "lower" else 54
        mean = getattr(seen, part).flatten(0, 1).mean(0).expand_as(truth)
        guesses = [codec.vqvae(part).decode_indices(codec.vqvae(part).encode_indices(truth)), mean]
        target = matrices(truth, count)
        found[part] = tuple(
            geodesic_distance(matrices(guess, count), target).mean().rad2deg().item() for guess in guesses
        )
        if part == "face":
            found["expressions"] = tuple((g - truth)[..., 6:].square().mean().sqrt().item() for g in guesses)
    return found


def matrices(motion: Tensor, count: int) -> Tensor:
    return rot6d_to_matrix(motion[..., :count].reshape(*motion.shape[:-1], -1, 6))


@torch.no_grad()
def judge_transformer(
    model: EmageTransformer, codec: EmageMotionCodec, train: EmageWindows, test: EmageWindows
) -> dict[str, tuple[float, float]]:
    """Share of held-out codes that are said right from speech and four frames, and by the most frequent code."""
    seen, batch = emage_targets(codec, train.batch(range(len(train)))), test.batch(range(len(test)))
    targets = emage_targets(codec, batch)
    mask = torch.ones_like(targets.motion, dtype=torch.bool)
    mask[:, : model.config.seed_frames] = False
    logits = model(batch.waveform, targets.motion, mask, batch.speaker).logits
    found = {}
    for part in model.config.code_parts:
        truth = getattr(targets.indices, part)
        common = getattr(seen.indices, part).flatten().bincount().argmax()
        said = getattr(logits, part).argmax(-1)
        found[part] = ((said == truth).float().mean().item(), (common == truth).float().mean().item())
    return found


def joint_speeds(motion: Motion, config: EmageConfig) -> tuple[Tensor, Tensor]:
    """Mean step of the joints, metres a frame, where one window follows another, and everywhere else."""
    steps = motion.joints().diff(dim=0).norm(dim=-1).mean(-1)
    hop = config.window_frames - config.seed_frames
    seams = torch.zeros(len(steps), dtype=torch.bool)
    seams[hop - 1 :: hop] = True
    return steps[seams], steps[~seams]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, help="a BEAT2 .npz")
    parser.add_argument("--audio", type=Path, help="its sound")
    parser.add_argument("--list", type=Path, help="a published list of windows, relative to BEAT2's folder")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the procedural clip")
    parser.add_argument("--published", action="store_true", help="networks, rules and rates of the published sizes")
    parser.add_argument("--hidden", type=int, default=64, help="width of the small transformer")
    parser.add_argument("--code-dim", type=int, default=64, help="width of the small codes")
    parser.add_argument("--num-codes", type=int, default=128)
    parser.add_argument("--vq-steps", type=int, default=250, help="of each motion network")
    parser.add_argument("--steps", type=int, default=240, help="of the transformer")
    parser.add_argument("--stride", type=int, default=3, help="frames from window to window (published: 20)")
    parser.add_argument("--batch-size", type=int, default=12, help="of the motion networks; published: 64")
    parser.add_argument("--transformer-batch-size", type=int, default=8, help="published: 56")
    parser.add_argument("--vq-learning-rate", type=float, default=2e-3, help="published: 1.5e-4")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="published: 1.5e-4")
    parser.add_argument("--fade-seams", action="store_true", help="let windows fade into each other")
    parser.add_argument("--out", type=Path, help="folder for the pipeline")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.motion and not arguments.audio:
        parser.error("--motion needs --audio")
    if arguments.published:
        arguments.code_dim, arguments.num_codes = 256, 256
        arguments.vq_learning_rate = arguments.learning_rate = 1.5e-4
    torch.manual_seed(arguments.seed)  # initial weights and dropout

    if arguments.list:
        train, test = (EmageWindows.listed(read_window_list(arguments.list, mode=mode)) for mode in ("train", "test"))
    else:
        train, test = split_windows(load_takes(arguments), arguments.stride)
    print(f"{len(train)} windows to learn from, {len(test)} held out")

    networks = {part: train_part(part, train, arguments) for part in EmageParts._fields}
    codec = make_emage_codec(networks, train_global_motion(train, arguments))
    small = EmageConfig(
        hidden_dim=arguments.hidden,
        feedforward_dim=2 * arguments.hidden,
        motion_latent_dim=64,
        audio_dim=16,
        num_face_layers=1,
        num_audio_layers=2,
        code_dim=arguments.code_dim,
        num_codes=arguments.num_codes,
        dropout=0.0,  # drawing it takes a third of a small network's time
    )
    transformer = EmageTransformer(EmageConfig() if arguments.published else small)
    train_transformer(transformer, codec, train, arguments)

    print("\nheld-out frames         codes   mean pose   margin")
    for name, (ours, mean) in judge_codes(codec, train, test).items():
        unit = "" if name == "expressions" else " deg"
        print(f"{name + unit:20s} {ours:8.3f}   {mean:9.3f}   {100 * (1 - ours / mean):+5.1f} %")
    print("\nheld-out codes      from speech   most frequent")
    for name, (ours, common) in judge_transformer(transformer, codec, train, test).items():
        print(f"{name:20s} {100 * ours:8.1f} %   {100 * common:10.1f} %")

    pipeline = EmagePipeline(transformer, codec)
    take = test.takes[0]
    motion = pipeline(take.waveform, source_rate_hz=16000, fade_seams=arguments.fade_seams)
    print(f"\n{motion} from the sound of {take.name or 'the take'}")
    seams, inside = joint_speeds(motion, pipeline.transformer.config)
    if len(seams):
        print(
            f"a frame's step at seams, at most: {100 * seams.max():.2f} cm; inside windows, 99th percentile: ", end=""
        )
        print(
            f"{100 * inside.quantile(0.99):.2f} cm, which {(seams <= inside.quantile(0.99)).float().mean():.0%} keep to"
        )
    if arguments.out:
        pipeline.save_pretrained(arguments.out)
        again = load_pipeline(arguments.out)(take.waveform, source_rate_hz=16000, fade_seams=arguments.fade_seams)
        print(f"wrote {arguments.out}; read back it gives the same motion: {motion.equal(again)}")


if __name__ == "__main__":
    main()
