"""Train DiffSHEG from recordings, judge it on speech that it never heard, and ask the paper's two open questions.

    python examples/train_diffsheg.py                                     # procedural speech and motion, CPU minutes
    python examples/train_diffsheg.py --motion take.npz --audio take.wav  # a BEAT2 take; its last fifth is held out
    python examples/train_diffsheg.py --form beat                         # the motion retargeted to BEAT's skeleton
    python examples/train_diffsheg.py --ablation                          # then overlap and steps against quality

The model is the SHOW form (SMPL-X, 30 Hz, guidance) at a small size, ``--published`` for the published one. ``--form
beat`` trains the BEAT form (15 Hz, no guidance) on the same motion retargeted to BEAT's skeleton; of its 51 weights of
the face only the open jaw can be had from SMPL-X, and the others rest. The model hears
``ProsodyFeatures`` in place of HuBERT, so nothing is downloaded. "distance" is the Frechet distance of 8-frame pieces
of joint positions, projected at random to 32 numbers: a distance, though nobody else's.

Needs: nothing but cospeech; recordings from BEAT2's authors for more than procedural motion.
Takes: minutes on one CPU core; published sizes want a GPU.
CI: --steps 3 --seconds 12 --clips 2 --batch-size 2 --hidden 32 --window 30 --test-seconds 4
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech.audio import ProsodyConfig, ProsodyFeatures, load_audio
from cospeech.data.synthetic import make_clip
from cospeech.metrics import frechet_distance
from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.motion import Motion, retarget_motion
from cospeech.pipelines import DiffSHEGPipeline, DiffSHEGSampling, ProsodyTrack
from cospeech.representations import DiffSHEGBeat, DiffSHEGShow
from cospeech.samplers import outpainting_windows
from cospeech.skeleton import BEAT_ARKIT_NAMES, SMPLX
from cospeech.training import (
    DiffSHEGBatch,
    diffsheg_losses,
    diffsheg_optimizer_step,
    draw_diffsheg_step,
    null_rows,
)
from cospeech.training.ema import WeightAverage

RATE_HZ = 16_000
JAW_OPEN_RADIANS = 0.5  # that count as a jaw wide open


def takes(arguments: argparse.Namespace) -> tuple[list[tuple[Motion, Tensor]], list[tuple[Motion, Tensor]]]:
    """Motions with their speech, to train on and held out."""
    as_form = FORMS[arguments.form].motion
    if arguments.motion:
        motion, waveform = as_form(Motion.load(arguments.motion)), load_audio(arguments.audio, RATE_HZ)
        rate_hz = int(motion.rate_hz)
        count = min(motion.num_frames, len(waveform) * rate_hz // RATE_HZ)
        cut = count * 4 // 5
        pieces = [(motion[:cut], waveform[: cut * RATE_HZ // rate_hz])]
        return pieces, [(motion[cut:count], waveform[cut * RATE_HZ // rate_hz :])]
    clips = [procedural(arguments.seconds, arguments.seed + i) for i in range(arguments.clips)]
    held_out = [procedural(arguments.test_seconds, arguments.seed + 1000)]
    train, test = ([(as_form(motion), waveform) for motion, waveform in pairs] for pairs in (clips, held_out))
    return train, test


def procedural(seconds: float, seed: int) -> tuple[Motion, Tensor]:
    clip = make_clip(seconds, speaker=1, seed=seed)
    motion = Motion.from_local_rotations(
        clip.local_rotations, translation=clip.translation, expressions=clip.expressions, rate_hz=30
    )
    return motion, clip.waveform


def as_show(motion: Motion) -> Motion:
    return dataclasses.replace(
        motion, local_axis_angle=motion.local_axis_angle.float(), expressions=motion.expressions.float()
    )


def as_beat(motion: Motion) -> Motion:
    """At 15 Hz on BEAT's skeleton, the jaw's pitch for the weight of the open jaw."""
    motion = as_show(motion).resample(15)
    face = torch.zeros(motion.num_frames, len(BEAT_ARKIT_NAMES))
    pitch = motion.local_axis_angle[:, SMPLX.index("jaw"), 0]
    face[:, BEAT_ARKIT_NAMES.index("jawOpen")] = (pitch / JAW_OPEN_RADIANS).clamp(0, 1)
    return retarget_motion(motion, expressions=face)


class Form(NamedTuple):
    """One of the two published configurations: what it learns from, its features, sizes and sampling."""

    motion: Callable[[Motion], Motion]
    representation: type[DiffSHEGBeat] | type[DiffSHEGShow]
    config: DiffSHEGConfig
    sampling: DiffSHEGSampling


FORMS = {
    "show": Form(as_show, DiffSHEGShow, DiffSHEGConfig.show(), DiffSHEGSampling(overlap_frames=8, guidance_scale=1.15)),
    "beat": Form(as_beat, DiffSHEGBeat, DiffSHEGConfig(), DiffSHEGSampling()),
}


def build(arguments: argparse.Namespace, train: list[tuple[Motion, Tensor]]) -> DiffSHEGPipeline:
    """The untrained pipeline, its statistics those of the data."""
    form = FORMS[arguments.form]
    dim = form.config.motion_dim
    identity = form.representation(mean=torch.zeros(dim), std=torch.ones(dim))
    channels = torch.cat([identity.encode(motion) for motion, _ in train])
    # A channel that never moves gets a deviation by which its noise is not seen.
    representation = form.representation(mean=channels.mean(0), std=channels.std(0).clamp_min(1e-3))
    track = ProsodyTrack(ProsodyFeatures(ProsodyConfig(frame_rate_hz=identity.rate_hz)))
    width = arguments.hidden
    sizes: dict[str, int] = {} if arguments.published else {
        "hidden_dim": width, "num_layers": 2, "num_heads": 4, "feedforward_dim": 2 * width, "fusion_dim": 2 * width,
        "condition_dim": 2 * width, "audio_dim": width, "speech_dim": width // 2,
    }  # fmt: skip
    config = dataclasses.replace(form.config, speech_feature_dim=track.feature_dim, **sizes)
    published_window = 88 if arguments.form == "show" else 34
    window = arguments.window or (published_window if arguments.published else round(4 / 3 * identity.rate_hz))
    sampling = dataclasses.replace(form.sampling, window_frames=window)
    return DiffSHEGPipeline(DiffSHEGDenoiser(config), representation, track, sampling=sampling)


@torch.no_grad()
def windows(pipeline: DiffSHEGPipeline, data: list[tuple[Motion, Tensor]], stride: int) -> DiffSHEGBatch:
    """Windows, each heard on its own, as in generation."""
    length, clean, mels, tracks = pipeline.sampling.window_frames, [], [], []
    rate_hz = int(pipeline.rate_hz)
    for motion, waveform in data:
        features = pipeline.representation.encode(motion)
        for first in range(0, len(features) - length + 1, stride):
            start = first * RATE_HZ // rate_hz
            samples = waveform[start : start + length * RATE_HZ // rate_hz]
            mel, track = pipeline.hear(samples, length)
            clean.append(features[first : first + length])
            mels.append(mel)
            tracks.append(track)
    speaker = torch.zeros(len(clean), dtype=torch.long)
    return DiffSHEGBatch(torch.stack(clean), torch.stack(mels), torch.stack(tracks), speaker)


def train(pipeline: DiffSHEGPipeline, data: DiffSHEGBatch, arguments: argparse.Namespace) -> None:
    """The published losses, clipping and null rows; the average of the weights is kept."""
    denoiser, generator = pipeline.denoiser.train(), torch.Generator().manual_seed(arguments.seed)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=arguments.learning_rate, fused=True)
    slowing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    average = WeightAverage(denoiser, decay=0.995)
    start, means = time.perf_counter(), torch.zeros(3)
    for step in range(arguments.steps):
        rows = torch.randint(len(data.clean), (arguments.batch_size,), generator=generator)
        batch = DiffSHEGBatch(*(tensor[rows] for tensor in data[:4]))
        draws = draw_diffsheg_step(denoiser, batch.clean, generator)
        unconditional = null_rows(len(rows)) if denoiser.config.unconditional else None
        losses = diffsheg_losses(denoiser, batch, draws, unconditional=unconditional)
        diffsheg_optimizer_step(losses.total, optimizer)
        slowing.step()
        average.update(step)
        means = torch.lerp(means, torch.stack(list(losses)).detach(), max(0.02, 1 / (step + 1)))
        if step in (0, arguments.steps - 1) or (step + 1) % 200 == 0:
            noise, velocity, clean = means.tolist()
            seconds = time.perf_counter() - start
            print(
                f"step {step + 1:5d}  noise {noise:8.1f}  velocity {velocity:8.3f}  clean {clean:8.1f}  {seconds:.0f} s"
            )
    denoiser.load_state_dict(average.weights, strict=False)  # buffers stay as they are
    denoiser.eval()


def pieces(joints: Tensor, num_frames: int = 8) -> Tensor:
    """Overlapping pieces of joint positions about the root, projected to 32 numbers."""
    flat = (joints - joints[:, :1]).flatten(1).unfold(0, num_frames, 1).flatten(1)
    basis = torch.randn(flat.shape[1], 32, generator=torch.Generator().manual_seed(0))
    return flat @ nn.init.orthogonal_(basis, generator=torch.Generator().manual_seed(0))


def judge(name: str, motion: Motion, truth: Motion) -> str:
    """Frechet distance and mean acceleration against the truth's."""
    joints, true_joints = motion.joints().float(), truth.joints().float()
    accelerations = [x.diff(n=2, dim=0).norm(dim=-1).mean() * motion.rate_hz**2 for x in (joints, true_joints)]
    distance = frechet_distance(pieces(joints), pieces(true_joints))
    return f"| {name} | {distance:.3f} | {accelerations[0]:.2f} | {accelerations[1]:.2f} |"


def seam_acceleration(motion: Motion, sampling: DiffSHEGSampling) -> tuple[float, float]:
    """Mean acceleration of joints where windows join, and elsewhere, m/s^2."""
    acceleration = motion.joints().diff(n=2, dim=0).norm(dim=-1).mean(-1) * motion.rate_hz**2
    starts = outpainting_windows(motion.num_frames, sampling.window_frames, sampling.overlap_frames)[1:]
    at_seam = torch.zeros(len(acceleration), dtype=torch.bool)
    for window in starts:
        at_seam[max(0, window.start - 2) : window.start + sampling.overlap_frames + 1] = True
    return acceleration[at_seam].mean().item(), acceleration[~at_seam].mean().item()


def ablate(pipeline: DiffSHEGPipeline, audio: Tensor, truth: Motion) -> None:
    """Overlap against seams, and steps against quality and time."""

    def generate(**changes: int) -> tuple[Motion, float, DiffSHEGSampling]:
        sampling = dataclasses.replace(pipeline.sampling, **changes)
        changed = DiffSHEGPipeline(
            pipeline.denoiser, pipeline.representation, pipeline.speech, sampling=sampling, hearing="clip"
        )
        start = time.process_time()  # the processor's own, whatever else the machine does
        motion = changed(audio, source_rate_hz=RATE_HZ, progress=False)
        return motion, time.process_time() - start, sampling

    print("\n| overlap, frames | acceleration at seams, m/s^2 | elsewhere | ratio | distance |")
    print("| --- | --- | --- | --- | --- |")
    for overlap in (0, 2, 4, 8):
        motion, _, sampling = generate(overlap_frames=overlap)
        at_seams, elsewhere = seam_acceleration(motion, sampling)
        count = min(motion.num_frames, truth.num_frames)
        distance = frechet_distance(pieces(motion.joints()[:count]), pieces(truth.joints()[:count].float()))
        print(f"| {overlap} | {at_seams:.2f} | {elsewhere:.2f} | {at_seams / elsewhere:.2f} | {distance:.3f} |")
    print("\n| steps | distance | acceleration, m/s^2 | of the truth | CPU seconds |")
    print("| --- | --- | --- | --- | --- |")
    for steps in (10, 25, 50, 100):
        motion, seconds, _ = generate(num_steps=steps)
        print(judge(str(steps), motion, truth) + f" {seconds:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="show")
    parser.add_argument("--motion", type=Path, help="a BEAT2 .npz")
    parser.add_argument("--audio", type=Path, help="its sound")
    parser.add_argument("--clips", type=int, default=6, help="procedural clips")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each")
    parser.add_argument("--test-seconds", type=float, default=20.0, help="length of the procedural clip held out")
    parser.add_argument("--published", action="store_true", help="a network of the published size; wants a GPU")
    parser.add_argument("--hidden", type=int, default=256, help="width of the small network; below 232 noise is lost")
    parser.add_argument("--window", type=int, help="frames of a window; by default 1.3 s, or the published ones")
    parser.add_argument("--stride", type=int, default=5, help="frames from window to window")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=8, help="published: 190 on each of 5 GPUs")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="published: 2e-4")
    parser.add_argument("--ablation", action="store_true", help="print the tables of overlap and steps")
    parser.add_argument("--out", type=Path, help="folder for the pipeline")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)  # initial weights
    train_takes, test_takes = takes(arguments)
    pipeline = build(arguments, train_takes)
    data = windows(pipeline, train_takes, arguments.stride)
    print(f"{len(data.clean)} windows of {data.clean.shape[1]} frames")
    truth, audio = test_takes[0]
    truth = pipeline.representation.decode(pipeline.representation.encode(truth))  # what can be generated
    train_truth = pipeline.representation.decode(pipeline.representation.encode(train_takes[0][0]))
    untrained = pipeline(audio, source_rate_hz=RATE_HZ, progress=False)
    train(pipeline, data, arguments)
    trained = pipeline(audio, source_rate_hz=RATE_HZ, progress=False)
    print("\n| motion for speech held out | distance | acceleration, m/s^2 | of the truth |\n| --- | --- | --- | --- |")
    for name, motion in (
        ("untrained network", untrained),
        ("trained network", trained),
        ("training data", train_truth),
    ):
        print(judge(name, motion, truth))
    if arguments.ablation:
        ablate(pipeline, audio, truth)
    if arguments.out:
        pipeline.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
