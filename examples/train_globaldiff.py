"""Train GlobalDiff from recordings: masked VAEs, speech model, denoiser; then sample windows that it never saw.

    python examples/train_globaldiff.py --motion take.npz --audio take.wav       # a small one, some CPU minutes
    python examples/train_globaldiff.py --beat2 beat_english_v2.0.0 --published  # published sizes; wants a GPU
    python examples/train_globaldiff.py                                          # on procedural speech and motion

BEAT2 must be obtained from its authors. Speech is heard by ``ProsodyFeatures``, with ``--wavlm`` as in the paper (extra
``speech``, downloads 1.3 GB once). Two tenths of the time are held out. Printed at the end, for the
denoiser before and after training and for the mean pose: the distance of joints from the ground truth, and the Frechet
gesture distance in the space of the evaluation autoencoder; give its published weights by ``--evaluator``, or its
weights are random, which is a distance too, though nobody else's.

Needs: nothing but cospeech; recordings from BEAT2's authors for more than procedural motion.
Takes: eight minutes on one CPU core; published sizes want a GPU.
CI: --steps 3 --seconds 14 --batch-size 2 --hidden 32
"""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from cospeech.audio import ProsodyFeatures, SpeechEncoder, load_audio
from cospeech.data import FeatureCache, Recording, WindowShards, iter_recordings, write_shards
from cospeech.data.synthetic import make_clip
from cospeech.hub import load_published, save_model
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published
from cospeech.metrics import frechet_distance
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SkeletonAutoencoder,
    SkeletonAutoencoderConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.motion import Motion
from cospeech.pipelines.globaldiff import WindowInputs, bind_denoiser
from cospeech.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_rot6d,
    matrix_to_axis_angle,
    matrix_to_rot6d,
    rot6d_to_matrix,
)
from cospeech.samplers import GlobalDiffSampler
from cospeech.skeleton import SMPLX, global_to_local, mirror_rotations, mirror_translation
from cospeech.training import (
    DenoiserBatch,
    DenoiserObjective,
    DenoiserTarget,
    DenoiserWeights,
    MeasuredMotion,
    adam,
    denoiser_losses,
    draw_step,
    draw_vae_step,
    hear_expressions,
    measure_motion,
    optimizer_step,
    speech_loss,
    vae_losses,
)

SHORT = DenoiserWeights(mse=5.0, position=5.0, velocity=1.0, acceleration=1.0)
"""For a few hundred steps: under the published weights a network first learns to keep still, and then all else."""


BLOCK = 64
"""Windows that are worked on at once while data is prepared."""

WindowsT = TypeVar("WindowsT", bound="tuple[Any, ...]")


class Windows(NamedTuple):
    """Windows, in files mapped into memory: of a data set larger than memory each step reads its own."""

    motion: Tensor  # (W, 60, 333) global Rot6D rows, translation
    expressions: Tensor  # (W, 60, 100)
    features: Tensor  # (W, 60, C) of the speech
    speaker: Tensor  # (W)


def one_recording(motion: Motion, waveform: Tensor, name: str, speaker: int) -> Recording:
    """A recording from a clip at 30 Hz and its sound at 16 kHz."""
    num_frames = min(motion.num_frames, int(len(waveform) / 16000 * 30))
    motion = motion[:num_frames]
    return Recording(
        name=name,
        speaker=speaker,
        axis_angle=matrix_to_axis_angle(motion.global_rotations()).float(),
        translation=motion.translation.float(),
        expressions=motion.expressions.float(),
        betas=torch.zeros(300),
        semantic=torch.zeros(num_frames),
        waveform=waveform,
    )


def recordings(arguments: argparse.Namespace) -> Iterator[Recording]:
    """What the command line names."""
    if arguments.beat2:
        yield from iter_recordings(arguments.beat2, "train")
    elif arguments.motion:
        yield one_recording(Motion.load(arguments.motion), load_audio(arguments.audio, 16000), "take", speaker=2)
    else:
        clip = make_clip(arguments.seconds, speaker=1, seed=arguments.seed)
        motion = Motion.from_local_rotations(
            clip.local_rotations, translation=clip.translation, expressions=clip.expressions, rate_hz=30
        )
        yield one_recording(motion, clip.waveform, "procedural", speaker=1)


def prepare(arguments: argparse.Namespace, folder: Path) -> tuple[Windows, Windows]:
    """Windows for training, with moved copies, and, disjoint in time, for testing."""
    hear: Callable[[Tensor], Tensor] = ProsodyFeatures()
    if arguments.wavlm:
        hear = FeatureCache(Path(arguments.out or folder) / "features", SpeechEncoder.load())
    write_shards(recordings(arguments), folder / "shards", stride_frames=arguments.stride, features=hear)
    shards = WindowShards(folder / "shards")
    # Two tenths of the time are held out, and of the windows about them those that share a frame with them.
    tenth = torch.arange(len(shards)) * 10 // len(shards)
    held = torch.isin(tenth, torch.tensor([3, 7]))
    reach = -(-60 // arguments.stride) - 1
    near = torch.stack([held.roll(shift) for shift in range(-reach, reach + 1)]).any(0)
    test = held.nonzero()[:: max(1, 20 // arguments.stride), 0]
    generator = torch.Generator().manual_seed(arguments.seed)
    train = read_windows(shards, (~near).nonzero()[:, 0], arguments.copies, generator)
    return mapped(train, folder / "train"), mapped(read_windows(shards, test, 0, generator), folder / "test")


def read_windows(shards: WindowShards, rows: Tensor, copies: int, generator: torch.Generator) -> Iterator[Windows]:
    """Some windows of the shards, and moved copies of them, a block at a time."""
    for block in rows.split(BLOCK):
        read = shards.batch(block.tolist())
        rotations = axis_angle_to_rot6d(read.axis_angle).flatten(-2)
        windows = Windows(torch.cat([rotations, read.translation], -1), read.expressions, read.features, read.speaker)
        yield windows
        for _ in range(copies):
            yield moved(windows, generator)


def mapped(blocks: Iterable[WindowsT], path: Path) -> WindowsT:
    """Blocks of tensors, one behind the other in files that are mapped into memory; whole, they may not fit there."""
    first: WindowsT | None = None
    count = 0
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] = []
        for block in blocks:
            if first is None:
                first = block
                paths = [path.with_name(f"{path.name}_{i}") for i in range(len(block))]
                files = [stack.enter_context(each.open("wb")) for each in paths]
            for tensor, file in zip(block, files, strict=True):
                file.write(tensor.contiguous().numpy().tobytes())
            count += len(block[0])
    assert first is not None, "no windows; the recordings are too short"
    shapes = [(count, *tensor.shape[1:]) for tensor in first]
    opened = [
        torch.from_file(str(each), shared=False, size=math.prod(shape), dtype=tensor.dtype).view(shape)
        for each, shape, tensor in zip(paths, shapes, first, strict=True)
    ]
    return type(first)(*opened)


def moved(data: Windows, generator: torch.Generator) -> Windows:
    """The windows mirrored, turned about the vertical and moved, each by chance.

    A minute of motion cannot teach that it does not matter where somebody stands and faces. Not in the paper.
    """
    count = len(data.motion)
    rotations = rot6d_to_matrix(data.motion[..., :-3].reshape(count, -1, SMPLX.num_joints, 6))
    translation = data.motion[..., -3:]
    mirrored = torch.rand(count, generator=generator) < 0.5
    rotations = torch.where(mirrored[:, None, None, None, None], mirror_rotations(rotations, SMPLX), rotations)
    translation = torch.where(mirrored[:, None, None], mirror_translation(translation), translation)
    heading = 0.4 * torch.randn(count, generator=generator)[:, None] * torch.tensor([0.0, 1.0, 0.0])
    turn = axis_angle_to_matrix(heading)[:, None]
    translation = (turn @ translation[..., None])[..., 0]
    translation[..., ::2] += 0.3 * torch.randn(count, 1, 2, generator=generator)
    rot6d = matrix_to_rot6d(turn[:, :, None] @ rotations).flatten(-2)
    return data._replace(motion=torch.cat([rot6d, translation], dim=-1))


class Report:
    """Prints how losses fall."""

    def __init__(self, name: str, steps: int):
        self.name, self.steps, self.start, self.first = name, steps, time.perf_counter(), dict[str, float]()
        self.mean: dict[str, float] = {}

    def __call__(self, step: int, terms: dict[str, Tensor]) -> None:
        """Take in the terms of a step; speak after the last."""
        rate = max(0.05, 1 / (step + 1))
        for term, value in terms.items():
            self.mean[term] = (1 - rate) * self.mean.get(term, 0.0) + rate * value.item()
        if step == 0:
            self.first = dict(self.mean)
        if step + 1 == self.steps:
            seconds = time.perf_counter() - self.start
            print(f"{self.name}: {self.steps} steps in {seconds:.0f} s", flush=True)
            for term in terms:
                print(f"  {term:22s} {self.first[term]:10.4f} -> {self.mean[term]:10.4f}", flush=True)


def batches(
    num_windows: int, steps: int, arguments: argparse.Namespace, generator: torch.Generator
) -> Iterable[Tensor]:
    return (torch.randint(num_windows, (arguments.batch_size,), generator=generator) for _ in range(steps))


def train_vae(config: MaskedVAEConfig, data: Windows, arguments: argparse.Namespace) -> MaskedVAE:
    """One masked VAE. Half its steps pass for the published warm-up of the divergence."""
    steps = max(1, arguments.steps // 4)
    vae, generator = MaskedVAE(config).train(), torch.Generator().manual_seed(arguments.seed)
    start_at_mean(vae.decoder.head, data.motion)
    optimizer = adam(vae.parameters(), arguments.learning_rate)
    report = Report(f"masked VAE, stride {config.stride}", steps)
    rest = SMPLX.rest_joints.expand(arguments.batch_size, -1, -1)
    for step, rows in enumerate(batches(len(data.motion), steps, arguments, generator)):
        target = measure_motion(data.motion[rows], rest)
        draws = draw_vae_step(vae, target.features, generator, mask_probability=0.3)
        losses, _ = vae_losses(vae, target, rest, draws, epoch=20 * step // steps)
        optimizer_step(losses.total, optimizer)
        report(step, {**losses._asdict(), "total": losses.total.detach()})
    return vae.eval()


def train_speech(config: SpeechModelConfig, data: Windows, arguments: argparse.Namespace) -> SpeechModel:
    """The regression of expressions; its published script does not exist, see ``cospeech.training.speech_loss``."""
    steps = max(1, arguments.steps // 4)
    model, generator = SpeechModel(config).train(), torch.Generator().manual_seed(arguments.seed)
    start_at_mean(model.head, data.expressions)
    optimizer, report = adam(model.parameters(), arguments.learning_rate), Report("speech model", steps)
    for step, rows in enumerate(batches(len(data.motion), steps, arguments, generator)):
        loss = speech_loss(model, data.features[rows], data.speaker[rows], data.expressions[rows])
        optimizer_step(loss, optimizer)
        report(step, {"total": loss.detach()})
    return model.eval()


class Measured(NamedTuple):
    """What the training of the denoiser asks of a window again and again, worked out once."""

    features: Tensor
    rotations: Tensor
    joints: Tensor
    fine_latents: Tensor
    coarse_latents: Tensor
    expressions: Tensor
    nobodys_expressions: Tensor


def measured(objective: DenoiserObjective, speech: SpeechModel, data: Windows) -> Iterator[Measured]:
    """The windows measured, a block at a time."""
    for rows in torch.arange(len(data.motion)).split(BLOCK):
        features, speaker = data.features[rows], data.speaker[rows]
        target = objective.target(data.motion[rows], SMPLX.rest_joints.expand(len(rows), -1, -1))
        heard = (hear_expressions(speech, features, told) for told in (speaker, torch.zeros_like(speaker)))
        yield Measured(*target.motion, *target.latents, *heard)


def train_denoiser(
    denoiser: GlobalDiffDenoiser,
    encoders: list[MaskedVAE],
    speech: SpeechModel,
    data: Windows,
    arguments: argparse.Namespace,
    folder: Path,
) -> None:
    """The denoiser, with everything that does not change computed once."""
    steps = arguments.steps
    generator = torch.Generator().manual_seed(arguments.seed)
    weights = DenoiserWeights() if arguments.published else SHORT
    objective = DenoiserObjective(encoders, weights=weights, num_seed_frames=denoiser.config.num_seed_frames)
    rest = SMPLX.rest_joints.expand(arguments.batch_size, -1, -1)
    kept = mapped(measured(objective, speech, data), folder / "measured")
    optimizer, report = adam(denoiser.parameters(), arguments.learning_rate), Report("denoiser", steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    denoiser.train()
    for step, rows in enumerate(batches(len(data.motion), steps, arguments, generator)):
        draws = draw_step((len(rows), *data.motion.shape[1:]), generator)
        known = Measured(*(tensor[rows] for tensor in kept))
        speaker = data.speaker[rows]
        batch = DenoiserBatch(
            target=DenoiserTarget(MeasuredMotion(*known[:3]), known[3:5]),
            features=data.features[rows],
            expressions=known.nobodys_expressions if draws.drops_speaker else known.expressions,
            speaker=torch.zeros_like(speaker) if draws.drops_speaker else speaker,
            rest_joints=rest,
        )
        losses = denoiser_losses(denoiser, objective, batch, draws)
        optimizer_step(losses.total, optimizer)
        schedule.step()
        report(step, {**losses._asdict(), "total": losses.total.detach()})
    denoiser.eval()


def expressions_of(speech: SpeechModel, features: Tensor, speaker: Tensor) -> Tensor:
    pairs = zip(features.split(64), speaker.split(64), strict=True)
    return torch.cat([hear_expressions(speech, *pair) for pair in pairs])


@torch.no_grad()
def start_at_mean(head: nn.Linear, target: Tensor) -> None:
    """A last layer that says the mean of the data, so that training starts from there and not from nothing."""
    head.bias.copy_(target.flatten(0, -2).mean(0))
    head.weight.mul_(0.1)


@torch.no_grad()
def open_gates(denoiser: GlobalDiffDenoiser, gate: float = 0.5) -> None:
    """Blocks that take part from the first step on; published ones begin silent, and take long to be heard."""
    for stream in (denoiser.hand, denoiser.body):
        for block in stream.blocks:
            block.modulation.linear.bias.view(3, 3, -1)[:, 0] = gate


@torch.no_grad()
def sample(denoiser: GlobalDiffDenoiser, speech: SpeechModel, data: Windows, seed: int) -> Tensor:
    """Motion for windows, from their speech and their first frames: ``(W, 60, 333)``."""
    sampler = GlobalDiffSampler(overlap_frames=denoiser.config.num_seed_frames)
    noise = torch.randn(data.motion.shape, generator=torch.Generator().manual_seed(seed))
    inputs = WindowInputs(noise, data.features, expressions_of(speech, data.features, data.speaker), data.speaker)
    start = data.motion[:, : denoiser.config.num_seed_frames]
    return sampler.sample_window(bind_denoiser(denoiser, inputs, start, sampler.steps.clock), noise, start)


@torch.no_grad()
def judge(name: str, motion: Tensor, truth: Tensor, evaluator: SkeletonAutoencoder) -> tuple[float, float]:
    """Mean distance of joints behind the seed, metres, and the Frechet gesture distance."""
    rest = SMPLX.rest_joints.expand(len(truth), -1, -1)
    measured = [measure_motion(x, rest) for x in (motion, truth)]
    joints = [m.joints + m.translation[..., None, :] for m in measured]
    error = (joints[0] - joints[1])[:, 8:].norm(dim=-1).mean().item()
    frames = 60 // evaluator.config.stride * evaluator.config.stride
    latents = []
    for m in measured:
        rot6d = matrix_to_rot6d(global_to_local(m.rotations, SMPLX)).flatten(-2)
        latents.append(evaluator.encode(rot6d[:, -frames:]).flatten(0, 1))
    distance = frechet_distance(*latents).item()
    print(f"{name:20s} joint error {100 * error:6.2f} cm   FGD {distance:8.4f}")
    return error, distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, help="a BEAT2 .npz")
    parser.add_argument("--audio", type=Path, help="its sound")
    parser.add_argument("--beat2", type=Path, help="a whole BEAT2 folder")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the procedural clip")
    parser.add_argument("--wavlm", action="store_true", help="hear with WavLM instead of prosody")
    parser.add_argument("--published", action="store_true", help="networks of the published sizes")
    parser.add_argument("--hidden", type=int, default=128, help="width of the small networks")
    parser.add_argument("--steps", type=int, default=800, help="of the denoiser; a quarter as many of the others")
    parser.add_argument("--stride", type=int, default=5, help="frames from window to window (published: 20)")
    parser.add_argument("--copies", type=int, default=4, help="of each window, moved by chance (published: 0)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="published: 1e-4, for VAEs 2e-4")
    parser.add_argument("--evaluator", type=Path, help="AESKConv_240_100.bin")
    parser.add_argument("--out", type=Path, help="folder for the networks")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)  # initial weights
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Prepare, train, judge; what is too large for memory lies in the folder."""
    train, test = prepare(arguments, folder)
    print(f"{len(train.motion)} windows to train on, copies included, {len(test.motion)} held out", flush=True)

    width, feature_dim = arguments.hidden, train.features.shape[-1]
    small = {"hidden_dim": width, "num_layers": 2, "num_heads": 4, "feedforward_dim": 2 * width}
    vae_sizes = {} if arguments.published else small | {"latent_dim": width // 2}
    sizes = {} if arguments.published else small | {"speaker_dim": 8}
    encoders = [
        train_vae(MaskedVAEConfig(stage_blocks=blocks, **vae_sizes), train, arguments) for blocks in ((3,), (2, 2))
    ]
    speech = train_speech(SpeechModelConfig(feature_dim=feature_dim, **sizes), train, arguments)
    denoiser = GlobalDiffDenoiser(GlobalDiffConfig(feature_dim=feature_dim, **sizes))
    untrained = sample(denoiser.eval(), speech, test, arguments.seed)
    for stream in (denoiser.hand, denoiser.body):
        start_at_mean(stream.head, train.motion[..., stream.channels])
    if not arguments.published:
        open_gates(denoiser)
    train_denoiser(denoiser, encoders, speech, train, arguments, folder)

    evaluator = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval()
    if arguments.evaluator:
        evaluator = skeleton_autoencoder_from_published(load_published(arguments.evaluator))
    mean_pose = train.motion.flatten(0, 1).mean(0).expand_as(test.motion)
    judge("untrained network", untrained, test.motion, evaluator)
    judge("mean pose", mean_pose, test.motion, evaluator)
    judge("trained network", sample(denoiser, speech, test, arguments.seed), test.motion, evaluator)
    expressions = expressions_of(speech, test.features, test.speaker)
    of_mean = (train.expressions.flatten(0, 1).mean(0) - test.expressions).square().sum(-1).mean()
    of_model = (expressions - test.expressions).square().sum(-1).mean()
    print(f"expressions, squared error: speech model {of_model:.3f}, mean {of_mean:.3f}")
    if arguments.out:
        networks = {"denoiser": denoiser, "speech_model": speech, "vae_2": encoders[0], "vae_4": encoders[1]}
        for name, network in networks.items():
            save_model(network, arguments.out / name)


if __name__ == "__main__":
    main()
