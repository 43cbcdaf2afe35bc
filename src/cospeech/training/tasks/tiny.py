"""The two networks of ``cospeech-tiny`` on its procedural corpus: expressions by regression, then the denoiser.

The denoiser's loss is that of GlobalDiff reduced to what a small network needs on clean data: errors of the channels,
of joint positions, and of their first and second differences, feet and arms counting more.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cospeech.audio import ProsodyFeatures
from cospeech.data.prepare import PreparedReport
from cospeech.data.synthetic import SPEAKERS, rest_clip
from cospeech.data.tiny import TinyBatch, TinyCorpus, global_motion, prepare_tiny_corpus
from cospeech.hub import load_model, save_model
from cospeech.losses import point_losses
from cospeech.models import GlobalDiffConfig, GlobalDiffDenoiser, SpeechModel, SpeechModelConfig
from cospeech.motion import Motion
from cospeech.pipelines import GlobalDiffPipeline
from cospeech.rotations import rot6d_to_matrix
from cospeech.schedulers import flow_interpolate
from cospeech.skeleton import SMPLX
from cospeech.training.task import Clock, Terms, TrainingTask
from cospeech.training.tasks.windows import main_process_first

__all__ = ["TinyDenoiserConfig", "TinySpeechConfig"]

NUM_SPEAKERS = len(SPEAKERS) + 1  # and 0 for nobody in particular
_SIGMA = 1e-3

TINY_DENOISER = GlobalDiffConfig(
    hidden_dim=128,
    num_layers=3,
    num_heads=4,
    feedforward_dim=256,
    feature_dim=30,
    num_speakers=NUM_SPEAKERS,
    speaker_hidden_dim=32,
    speaker_dim=32,
)

TINY_SPEECH = SpeechModelConfig(
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


@dataclass(frozen=True, kw_only=True)
class _TinyData:
    """Where the corpus is, and how many of its clips are learned from; made where missing."""

    corpus: str = "runs/tiny/corpus"
    clips: int = 360
    held_out_clips: int = 8
    prepare_workers: int = 2
    corpus_seed: int = 0

    def prepare(self) -> dict[str, PreparedReport]:
        """Make the clips that are not there yet; what came of it, by folder."""
        total = self.clips + self.held_out_clips
        made = prepare_tiny_corpus(self.corpus, total, seed=self.corpus_seed, workers=self.prepare_workers)
        return {self.corpus: PreparedReport(len(self.open()), total, {}, made)}

    def open(self) -> TinyCorpus:
        """All clips, those that are held out last."""
        return TinyCorpus(self.corpus, self.clips + self.held_out_clips, seed=self.corpus_seed)


@dataclass(frozen=True, kw_only=True)
class TinySpeechConfig(_TinyData):
    """Expressions from prosody.

    Attributes:
        model: Sizes of the network.
    """

    model: SpeechModelConfig = TINY_SPEECH

    def build(self) -> TrainingTask:
        """The task, its corpus made where missing."""
        return _TinySpeech(self)

    def rehearsal(self, folder: Path) -> TinySpeechConfig:
        """The same on a few clips in ``folder``."""
        return dataclasses.replace(self, corpus=str(folder), clips=1, held_out_clips=1, prepare_workers=0)


@dataclass(frozen=True, kw_only=True)
class TinyDenoiserConfig(_TinyData):
    """Motion from prosody, expressions and seed frames.

    Attributes:
        model: Sizes of the network.
        speech_model: The folder of the trained speech model.
        start: A folder with denoiser weights to go on from; "" begins with new ones.
        foot_weight: How much a foot counts beside another joint.
    """

    model: GlobalDiffConfig = TINY_DENOISER
    speech_model: str = "runs/tiny/speech/model"
    start: str = ""
    foot_weight: float = 4.0

    def build(self) -> TrainingTask:
        """The task, its corpus made where missing."""
        return _TinyDenoiser(self)

    def rehearsal(self, folder: Path) -> TinyDenoiserConfig:
        """The same on a few clips in ``folder``, with an untrained speech model."""
        save_model(SpeechModel(TINY_SPEECH), folder / "speech")
        return dataclasses.replace(
            self,
            corpus=str(folder),
            clips=1,
            held_out_clips=1,
            prepare_workers=0,
            speech_model=str(folder / "speech"),
            start="",
        )


class _TinyTask(TrainingTask):
    def __init__(self, config: _TinyData):
        main_process_first(config.prepare)
        self.corpus = config.open()
        self.num_items = len(TinyCorpus(config.corpus, config.clips, seed=config.corpus_seed))
        self.num_held_out = len(self.corpus) - self.num_items

    def batch(self, items: Sequence[int], generator: torch.Generator) -> TinyBatch:
        """Windows of drawn speakers; the features heard through slightly different microphones."""
        speakers = torch.randint(1, NUM_SPEAKERS, (len(items),), generator=generator).tolist()
        batch = self.corpus.batch(items, speakers)
        size, _, width = batch.features.shape
        colour = torch.zeros(size, 1, width)
        colour[..., :24] = 0.12 * torch.randn(size, 1, 24, generator=generator)
        noise = 0.04 * torch.randn(batch.features.shape, generator=generator)
        return batch._replace(features=batch.features + colour + noise)


class _TinySpeech(_TinyTask):
    def __init__(self, config: TinySpeechConfig):
        super().__init__(config)
        self.model = SpeechModel(config.model)

    def losses(self, model: nn.Module, batch: TinyBatch, clock: Clock) -> Terms:
        return {"total": F.mse_loss(model(batch.features, batch.speaker), batch.expressions)}


class _TinyDenoiser(_TinyTask):
    def __init__(self, config: TinyDenoiserConfig):
        super().__init__(config)
        self.speech = load_model(SpeechModel, config.speech_model).requires_grad_(False)
        mean, spread = self.corpus.statistics()
        self.model = _ScaledDenoiser(config.model, mean, spread.clamp_min(0.004))
        if config.start:
            self.model.unfold(load_model(GlobalDiffDenoiser, Path(config.start) / "denoiser"))
        self.points = _Points()
        weights = torch.ones(SMPLX.num_joints)
        weights[list(SMPLX.groups["feet"])] = config.foot_weight
        weights[[18, 19, 20, 21]] = 3.0
        self.joint_weights = weights

    def losses(self, model: nn.Module, batch: TinyBatch, clock: Clock) -> Terms:
        device, size = batch.motion.device, len(batch.motion)
        draw = clock.generator
        time = torch.rand(size, generator=draw).to(device)
        noise = torch.randn(batch.motion.shape, generator=draw).to(device)
        speaker = batch.speaker * (torch.rand(size, generator=draw) >= 0.1).to(device)
        scale: Tensor = model.scale  # type: ignore[assignment]
        seed = _disturbed(batch.motion[:, : self._seed_frames], scale, draw)
        with torch.no_grad():  # what the denoiser will be given in use
            expressions = self.speech.to(device)(batch.features, torch.ones_like(batch.speaker))
        noisy = flow_interpolate(batch.motion, noise, time, sigma_min=_SIGMA)
        clean = model(noisy, time, speaker, seed, batch.features, expressions)
        points, weights = self.points.to(device), self.joint_weights.to(device)
        position, velocity, acceleration = point_losses(points(clean), points(batch.motion), weights=weights)
        error = clean - batch.motion
        found = {
            "mse": error.square().mean(),
            "scaled": 0.01 * (error / scale).square().mean(),
            "position": position,
            "velocity": 10 * velocity,
            "acceleration": 10 * acceleration,
        }
        return {**found, "total": torch.stack(list(found.values())).sum()}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        waveform = _unheard(number)
        return self._pipeline()(waveform, source_rate_hz=16_000, seed=number, progress=False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """The folded denoiser, and the whole pipeline as ``cospeech.load_pipeline`` reads it."""
        self._pipeline().save_pretrained(folder, dtype=torch.float16)

    @property
    def _seed_frames(self) -> int:
        assert isinstance(self.model, _ScaledDenoiser)
        return self.model.denoiser.config.num_seed_frames

    def _pipeline(self) -> GlobalDiffPipeline:
        assert isinstance(self.model, _ScaledDenoiser)
        return GlobalDiffPipeline(
            self.model.fold(), self.speech.cpu(), ProsodyFeatures(), rest_poses=_rest_poses(self._seed_frames)
        )


def _unheard(number: int) -> Tensor:
    """Four seconds of procedural speech that no clip of the corpus holds, ``(S,)`` at 16 kHz."""
    from cospeech.data.synthetic import make_clip

    return make_clip(4.0, speaker=1, seed=80_000 + number).waveform


class _ScaledDenoiser(nn.Module):
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
        clean: Tensor = self.denoiser(*inputs) * self.scale + self.mean
        return clean

    @torch.no_grad()
    def unfold(self, folded: GlobalDiffDenoiser) -> None:
        """Take the weights that ``fold`` gave."""
        self.denoiser.load_state_dict(folded.state_dict())
        for head, scale, mean in self._heads(self.denoiser):
            head.weight.div_(scale[:, None])
            head.bias.sub_(mean).div_(scale)

    @torch.no_grad()
    def fold(self) -> GlobalDiffDenoiser:
        """A plain denoiser on the CPU with the same output."""
        folded = GlobalDiffDenoiser(self.denoiser.config)
        folded.load_state_dict(self.denoiser.state_dict())
        for head, scale, mean in self._heads(folded):
            head.weight.mul_(scale[:, None])
            head.bias.mul_(scale).add_(mean)
        return folded.eval()

    def _heads(self, denoiser: GlobalDiffDenoiser) -> list[tuple[nn.Linear, Tensor, Tensor]]:
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        device = next(denoiser.parameters()).device
        streams = (denoiser.hand, denoiser.body)
        return [(s.head, scale[s.channels].to(device), mean[s.channels].to(device)) for s in streams]


class _Points(nn.Module):
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
        rotations = rot6d_to_matrix(rearrange(motion[..., :330], "... (j c) -> ... j c", c=6))
        bones, ancestors, root = (self.get_buffer(name) for name in ("bones", "ancestors", "root"))
        offsets = (rotations[..., self.parents, :, :] * bones[:, None, :]).sum(-1)
        return ancestors @ offsets + (root + motion[..., 330:])[..., None, :]


def _disturbed(seed: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Seeds as the model's own samples are: a little off, a little drifting, a little rough, each channel by its range.

    Without this the model would learn to continue perfect frames, and never get its own frames back to what is right.
    """
    size, frames, width = seed.shape

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    amount = torch.rand(size, 1, 1, generator=generator) * (torch.rand(size, 1, 1, generator=generator) < 0.75)
    ramp = torch.linspace(-1, 1, frames)[:, None]
    error = 0.2 * noise(size, 1, width) + 0.07 * ramp * noise(size, 1, width) + 0.05 * noise(size, frames, width)
    return seed + (amount * error).to(seed.device) * deviation


@torch.no_grad()
def _rest_poses(num_frames: int) -> Tensor:
    """What comes before the first window, ``(4, T, 333)``: each speaker at rest."""
    clips = [rest_clip(speaker, num_frames) for speaker in range(1, NUM_SPEAKERS)]
    return torch.stack([global_motion(clip.local_rotations, clip.translation) for clip in clips])
