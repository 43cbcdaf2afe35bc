"""Train the embedded model ``cospeech-tiny`` from nothing: corpus, speech model, denoiser, files.

    python examples/train_tiny.py --out my-tiny            # less than an hour on one CPU core
    python examples/train_tiny.py --out pilot --minutes 3  # does it learn at all?

The corpus is procedural (``cospeech.data.synthetic``); half of its speech is spoken by the program espeak-ng where that
is installed. ``examples/evaluate_tiny.py`` measures the result.

Needs: nothing but cospeech; where espeak-ng is installed half of the speech is its.
Takes: less than an hour on one CPU core.
CI: --out smoke --work work --clips 4 --steps 3 --minutes 1
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.audio import ProsodyFeatures
from cospeech.data.synthetic import SPEAKERS, animate_speech, rest_clip, synthesize_speech
from cospeech.data.synthetic.espeak import TRAIN_VOICES, espeak_installed, talk
from cospeech.data.synthetic.speech import SAMPLE_RATE_HZ, record_speech
from cospeech.data.synthetic.stress import Stresses, find_stresses
from cospeech.losses import point_losses
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig
from cospeech.pipelines import GlobalDiffPipeline
from cospeech.rotations import matrix_to_rot6d, rot6d_to_matrix
from cospeech.skeleton import SMPLX, local_to_global

WINDOW_FRAMES, SEED_FRAMES, WINDOW_SAMPLES = 60, 8, 32_000
CLIP_SECONDS = 12.0
HOP_FRAMES = 10
NUM_SPEAKERS = len(SPEAKERS) + 1  # and 0 for nobody in particular
EMA_DECAY = 0.998

DENOISER = GlobalDiffConfig(
    hidden_dim=128,
    num_layers=3,
    num_heads=4,
    feedforward_dim=256,
    feature_dim=30,
    num_speakers=NUM_SPEAKERS,
    speaker_hidden_dim=32,
    speaker_dim=32,
)
SPEECH = SpeechModelConfig(
    hidden_dim=96,
    num_layers=2,
    num_heads=4,
    feedforward_dim=192,
    feature_dim=30,
    num_speakers=NUM_SPEAKERS,
    speaker_hidden_dim=32,
    speaker_dim=16,
    dropout=0.0,
)


class Corpus(NamedTuple):
    """Windows of audio features, and for each speaker the motion of every frame that they stand over."""

    features: Tensor  # (W, 60, 30)
    starts: Tensor  # (W) first frame of each window in `motion`
    expressions: Tensor  # (W, 60, 100), the same for all speakers
    motion: Tensor  # (4, F, 333) global rot6d, translation
    joints: Tensor  # (4, F, 55, 3) metres


def global_motion(local_rotations: Tensor, translation: Tensor) -> Tensor:
    """Motion vectors ``(T, 333)``: rot6d of global rotations, then translation."""
    rotations = matrix_to_rot6d(local_to_global(local_rotations, SMPLX))
    return torch.cat([rotations.flatten(-2), translation], dim=-1)


class Points(nn.Module):
    """Joint positions of motion vectors; forward kinematics as two products, made for the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        rest, parents = SMPLX.rest_joints, list(SMPLX.parents)
        ancestors = torch.zeros(SMPLX.num_joints, SMPLX.num_joints - 1)
        for joint in range(1, SMPLX.num_joints):
            if parents[joint] > 0:
                ancestors[joint] = ancestors[parents[joint]]
            ancestors[joint, joint - 1] = 1
        self.register_buffer("bones", rest[1:] - rest[parents[1:]])
        self.register_buffer("ancestors", ancestors)
        self.register_buffer("root", rest[0])
        self.parents = parents[1:]

    def forward(self, motion: Tensor) -> Tensor:
        """``(..., 333)`` to ``(..., 55, 3)`` in metres."""
        rotations = rot6d_to_matrix(motion[..., :330].unflatten(-1, (SMPLX.num_joints, 6)))
        offsets = (rotations[..., self.parents, :, :] * self.bones[:, None, :]).sum(-1)
        return self.ancestors @ offsets + (self.root + motion[..., 330:])[..., None, :]


def draw_speech(kind: str, generator: np.random.Generator) -> tuple[np.ndarray, Stresses]:
    """Twelve seconds of speech as recorded, and its stresses."""
    if kind == "synthetic":
        speech = synthesize_speech(CLIP_SECONDS, generator)
        clean, stresses = speech.waveform.astype(np.float64), Stresses(speech.stress_seconds, speech.stress_strengths)
    elif kind == "espeak":
        clean = talk(CLIP_SECONDS, TRAIN_VOICES, generator)
        stresses = find_stresses(clean.astype(np.float32))
    else:
        clean, stresses = np.zeros(round(CLIP_SECONDS * SAMPLE_RATE_HZ)), Stresses(np.zeros(0), np.zeros(0))
    if generator.uniform() < 0.3 and kind != "silence":  # the recording begins in the middle of a word
        cut = generator.uniform(0.3, 2.0)
        clean = np.append(clean[int(cut * SAMPLE_RATE_HZ) :], np.zeros(int(cut * SAMPLE_RATE_HZ)))
        late = stresses.seconds > cut
        stresses = Stresses(stresses.seconds[late] - cut, stresses.strengths[late])
    if generator.uniform() < 0.35:  # the recording ends, and what follows is padding
        stop = generator.uniform(CLIP_SECONDS - 3.0, CLIP_SECONDS - 0.5)
        early = stresses.seconds < stop - 0.1
        stresses = Stresses(stresses.seconds[early], stresses.strengths[early])
    else:
        stop = CLIP_SECONDS
    waveform = record_speech(clean, generator)
    if kind == "silence":
        waveform *= generator.choice([0.0, 0.02, 0.2])
    waveform[int(stop * SAMPLE_RATE_HZ) :] = 0
    return waveform, stresses


@torch.no_grad()
def make_corpus(num_clips: int, seed: int) -> Corpus:
    """Animate each speech for all four speakers, and cut it into windows."""
    prosody, points = ProsodyFeatures(), Points()
    kinds, shares = ["synthetic", "espeak", "silence"], [0.42, 0.53, 0.05]
    if not espeak_installed():
        print("espeak-ng is not installed: all speech is synthetic, and real voices will be followed less well.")
        shares = [0.95, 0.0, 0.05]
    generator = np.random.default_rng(seed)
    features, starts, expressions, motion, num_frames = [], [], [], [], 0
    for number in range(num_clips):
        waveform, stresses = draw_speech(str(generator.choice(kinds, p=shares)), generator)
        clips = [animate_speech(waveform, speaker, generator, stresses) for speaker in range(1, NUM_SPEAKERS)]
        motion.append(torch.stack([global_motion(clip.local_rotations, clip.translation) for clip in clips]))
        length = len(clips[0].expressions)
        first = torch.cat([torch.zeros(2), torch.arange(0, length - WINDOW_FRAMES + 1, HOP_FRAMES)]).long()
        samples = [round(frame * SAMPLE_RATE_HZ / 30) for frame in first.tolist()]
        windows = torch.stack([torch.from_numpy(waveform)[s : s + WINDOW_SAMPLES] for s in samples])
        features.append(prosody(windows))
        starts.append(first + num_frames)
        frames = first[:, None] + torch.arange(WINDOW_FRAMES)
        expressions.append(clips[0].expressions[frames])
        num_frames += length
        if number % 50 == 49:
            print(f"clip {number + 1} of {num_clips}", flush=True)
    all_motion = torch.cat(motion, dim=1)
    joints = torch.stack([torch.cat([points(chunk) for chunk in one.split(4096)]) for one in all_motion])
    return Corpus(torch.cat(features), torch.cat(starts), torch.cat(expressions), all_motion, joints)


class Batch(NamedTuple):
    """Windows for one step."""

    features: Tensor
    expressions: Tensor
    motion: Tensor
    joints: Tensor
    speaker: Tensor


def draw_batch(corpus: Corpus, size: int, generator: torch.Generator) -> Batch:
    """Random windows of random speakers; the features heard through slightly different microphones."""
    window = torch.randint(len(corpus.starts), (size,), generator=generator)
    speaker = torch.randint(1, NUM_SPEAKERS, (size,), generator=generator)
    frames = corpus.starts[window, None] + torch.arange(WINDOW_FRAMES)
    features = corpus.features[window]
    colour = torch.zeros(size, 1, features.shape[-1])
    colour[..., :24] = 0.12 * torch.randn(size, 1, 24, generator=generator)
    features = features + colour + 0.04 * torch.randn(features.shape, generator=generator)
    rows = (speaker - 1)[:, None], frames
    return Batch(features, corpus.expressions[window], corpus.motion[rows], corpus.joints[rows], speaker)


def disturb_seed(seed: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Seeds as the model's own samples are: a little off, a little drifting, a little rough, each channel by its range.

    Without this the model would learn to continue perfect frames, and never get its own frames back to what is right.
    """
    size, frames, width = seed.shape

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    size_of_error = torch.rand(size, 1, 1, generator=generator) * (torch.rand(size, 1, 1, generator=generator) < 0.75)
    ramp = torch.linspace(-1, 1, frames)[:, None]
    error = 0.2 * noise(size, 1, width) + 0.07 * ramp * noise(size, 1, width) + 0.05 * noise(size, frames, width)
    return seed + size_of_error * error * deviation


class ScaledDenoiser(nn.Module):
    """The denoiser, whose head speaks in deviations from the mean while it learns.

    Knees move by hundredths and wrists by halves; with one learning rate for both, the small ones would never settle.
    ``fold`` writes the scale into the head: what is left is the plain denoiser with the same output.
    """

    def __init__(self, config: GlobalDiffConfig, mean: Tensor, scale: Tensor):
        super().__init__()
        self.denoiser = GlobalDiffDenoiser(config)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, *inputs: Tensor) -> Tensor:
        """See ``GlobalDiffDenoiser.forward``."""
        return self.denoiser(*inputs) * self.scale + self.mean

    @torch.no_grad()
    def unfold(self, folded: dict[str, Tensor]) -> None:
        """Take the weights that ``fold`` gave."""
        self.denoiser.load_state_dict(folded)
        for stream, scale, mean in self._heads(self.denoiser):
            stream.head.weight.div_(scale[:, None])
            stream.head.bias.sub_(mean).div_(scale)

    @torch.no_grad()
    def fold(self) -> GlobalDiffDenoiser:
        """A plain denoiser with the same output."""
        folded = GlobalDiffDenoiser(self.denoiser.config)
        folded.load_state_dict(self.denoiser.state_dict())
        for stream, scale, mean in self._heads(folded):
            stream.head.weight.mul_(scale[:, None])
            stream.head.bias.mul_(scale).add_(mean)
        return folded.eval()

    def _heads(self, denoiser: GlobalDiffDenoiser) -> list[tuple[nn.Module, Tensor, Tensor]]:
        hand, body = (list(x) for x in (denoiser.config.hand_channels, denoiser.config.body_channels))
        parts = (denoiser.hand, hand), (denoiser.body, body)
        return [(stream, self.scale[channels], self.mean[channels]) for stream, channels in parts]


def denoiser_loss(
    denoiser: ScaledDenoiser, points: Points, batch: Batch, foot_weight: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Terms of the loss for one batch; the target is the clean window itself."""
    size = len(batch.motion)
    time_ = torch.rand(size, generator=generator)
    t = time_[:, None, None]
    noise = torch.randn(batch.motion.shape, generator=generator)
    noisy = noise * (1 - t + 1e-3 * t) + batch.motion * t
    speaker = batch.speaker * (torch.rand(size, generator=generator) >= 0.1)
    seed = disturb_seed(batch.motion[:, :SEED_FRAMES], denoiser.scale, generator)
    clean = denoiser(noisy, time_, speaker, seed, batch.features, batch.expressions)
    weights = torch.ones(SMPLX.num_joints)
    weights[list(SMPLX.groups["feet"])] = foot_weight
    weights[[18, 19, 20, 21]] = 3.0
    position, velocity, acceleration = point_losses(points(clean), batch.joints, weights=weights)
    error = clean - batch.motion
    return {
        "mse": error.square().mean(),
        "scaled": 0.01 * (error / denoiser.scale).square().mean(),
        "position": position,
        "velocity": 10 * velocity,
        "acceleration": 10 * acceleration,
    }


class Schedule:
    """Learning rate: a short rise, then a cosine down to nearly zero when time or steps run out."""

    def __init__(self, optimizer: torch.optim.Optimizer, minutes: float, steps: int):
        self.optimizer, self.seconds, self.steps = optimizer, 60 * minutes, steps
        self.peak = optimizer.param_groups[0]["lr"]
        self.begin, self.step_number = time.monotonic(), 0

    def step(self) -> bool:
        """Set the rate of the next step; False when there is none."""
        progress = max((time.monotonic() - self.begin) / self.seconds, self.step_number / self.steps)
        rise = min(1.0, (self.step_number + 1) / 200)
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
        self.step_number += 1
        return progress < 1


def train_speech(corpus: Corpus, minutes: float, steps: int, generator: torch.Generator) -> SpeechModel:
    """The expressions are a regression from the features."""
    model = SpeechModel(SPEECH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule, average = Schedule(optimizer, minutes, steps), 0.0
    while schedule.step():
        batch = draw_batch(corpus, 48, generator)
        loss = F.mse_loss(model(batch.features, batch.speaker), batch.expressions)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average = 0.98 * average + 0.02 * loss.item()
        if schedule.step_number % 200 == 0:
            print(f"speech step {schedule.step_number} loss {average:.5f}", flush=True)
    return model.eval()


def train_denoiser(
    corpus: Corpus,
    start: Path | None,
    rate: float,
    minutes: float,
    steps: int,
    batch_size: int,
    foot_weight: float,
    work: Path,
    generator: torch.Generator,
) -> GlobalDiffDenoiser:
    """The denoiser; what is kept is the moving average of its weights."""
    frames = corpus.motion.flatten(0, 1)
    mean, scale = frames.mean(0), frames.std(0).clamp_min(0.004)
    model, average, points = ScaledDenoiser(DENOISER, mean, scale), ScaledDenoiser(DENOISER, mean, scale), Points()
    if start:
        model.unfold(torch.load(start))
    average.requires_grad_(False)
    average.load_state_dict(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule, saved = Schedule(optimizer, minutes, steps), time.monotonic()
    averages: dict[str, float] = {}
    while schedule.step():
        batch = draw_batch(corpus, batch_size, generator)
        losses = denoiser_loss(model, points, batch, foot_weight, generator)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        decay = min(EMA_DECAY, (1 + schedule.step_number) / (10 + schedule.step_number))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        share = max(0.02, 1 / schedule.step_number)
        for name, value in losses.items():
            averages[name] = (1 - share) * averages.get(name, 0.0) + share * value.item()
        if schedule.step_number % 100 == 0:
            terms = "  ".join(f"{name} {value:.5f}" for name, value in averages.items())
            minutes_spent = (time.monotonic() - schedule.begin) / 60
            print(f"denoiser step {schedule.step_number} ({minutes_spent:.1f} min)  {terms}", flush=True)
        if time.monotonic() - saved > 180:
            save_atomically(average.fold().state_dict(), work / "denoiser.pt")
            saved = time.monotonic()
    return average.fold()


@torch.no_grad()
def heard_expressions(corpus: Corpus, speech: SpeechModel) -> Corpus:
    """The corpus with the expressions that the speech model predicts: those are what the denoiser will be given."""
    pieces = [speech(features, torch.ones(len(features), dtype=torch.long)) for features in corpus.features.split(256)]
    return corpus._replace(expressions=torch.cat(pieces))


def save_atomically(state: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


@torch.no_grad()
def rest_poses() -> Tensor:
    """What comes before the first window, ``(4, 8, 333)``: each speaker at rest."""
    clips = [rest_clip(speaker, SEED_FRAMES) for speaker in range(1, NUM_SPEAKERS)]
    return torch.stack([global_motion(clip.local_rotations, clip.translation) for clip in clips])


def export(denoiser: GlobalDiffDenoiser, speech: SpeechModel, folder: Path) -> None:
    """Write the model as ``cospeech.load_pipeline`` reads it, in half precision."""
    pipeline = GlobalDiffPipeline(denoiser, speech, ProsodyFeatures(), rest_poses=rest_poses())
    pipeline.save_pretrained(folder, dtype=torch.float16)
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
    print(f"wrote {folder}: {size:.2f} MB of safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--work", type=Path, default=Path("out/train-tiny"), help="folder for corpus and checkpoints")
    parser.add_argument("--minutes", type=float, default=36.0, help="training time of the denoiser at most")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the denoiser at most")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--clips", type=int, default=360, help="speech clips of 12 s; each is animated four times")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in the work folder")
    parser.add_argument("--rate", type=float, default=1.2e-3, help="highest learning rate of the denoiser")
    parser.add_argument("--foot-weight", type=float, default=4.0, help="how much a foot counts beside another joint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)  # initial weights
    generator = torch.Generator().manual_seed(arguments.seed)
    arguments.work.mkdir(parents=True, exist_ok=True)
    cache = arguments.work / f"corpus-{arguments.clips}-{arguments.seed}.pt"
    if cache.exists():
        corpus = Corpus(*torch.load(cache))
    else:
        corpus = make_corpus(arguments.clips, arguments.seed)
        save_atomically(tuple(corpus), cache)
    print(f"{len(corpus.starts)} windows over {corpus.motion.shape[1]} frames of {len(SPEAKERS)} speakers", flush=True)

    if arguments.resume:
        speech = SpeechModel(SPEECH).eval()
        speech.load_state_dict(torch.load(arguments.work / "speech.pt"))
    else:
        speech = train_speech(corpus, arguments.minutes / 14, 2000, generator)
        save_atomically(speech.state_dict(), arguments.work / "speech.pt")
    corpus = heard_expressions(corpus, speech)
    denoiser = train_denoiser(
        corpus,
        arguments.work / "denoiser.pt" if arguments.resume else None,
        arguments.rate,
        arguments.minutes,
        arguments.steps,
        arguments.batch_size,
        arguments.foot_weight,
        arguments.work,
        generator,
    )
    save_atomically(denoiser.state_dict(), arguments.work / "denoiser.pt")
    export(denoiser, speech, arguments.out)


if __name__ == "__main__":
    main()
