"""GlobalDiff's trainings: masked VAEs, the speech model, the denoiser under its constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from cospeech.data import load_rest_joints
from cospeech.hub import load_model, save_model
from cospeech.models import (
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.motion import Motion
from cospeech.pipelines.globaldiff import WindowInputs, bind_denoiser
from cospeech.representations import globaldiff_flip
from cospeech.rotations import axis_angle_to_rot6d, matrix_to_axis_angle, rot6d_to_matrix
from cospeech.samplers import GlobalDiffSampler
from cospeech.skeleton import SMPLX, global_to_local, mirror_axis_angle, mirror_joints, mirror_translation
from cospeech.training.globaldiff import (
    DenoiserBatch,
    DenoiserObjective,
    DenoiserWeights,
    denoiser_losses,
    draw_step,
    hear_expressions,
    speech_loss,
)
from cospeech.training.masked_vae import VAETrainingConfig, draw_vae_step, vae_losses
from cospeech.training.motion_errors import measure_motion
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData

__all__ = ["GlobalDiffDenoiserTask", "GlobalDiffSpeechTask", "MaskedVAETask"]


@dataclass(frozen=True, kw_only=True)
class MaskedVAETask:
    """One masked VAE.

    Attributes:
        data: Windows of 60 frames.
        model: Sizes; ``stage_blocks`` (3,) has stride 2, (2, 2) stride 4.
        loss: Weights of the terms.
        flip_probability: Of mirroring a window.
        published_flip: Whether to exchange left and right by the published rule instead, see ``globaldiff_flip``.
        rest_joints: GlobalDiff's ``rest_joint_position.mat``; "" takes the mean body for everybody.
        start_at_mean: Whether the last layer begins by saying the mean pose, which short trainings want.
    """

    data: WindowData
    model: MaskedVAEConfig = field(default_factory=MaskedVAEConfig)
    loss: VAETrainingConfig = field(default_factory=VAETrainingConfig)
    flip_probability: float = 0.5
    published_flip: bool = False
    rest_joints: str = ""
    start_at_mean: bool = False

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _VAE(self)

    def rehearsal(self, folder: Path) -> MaskedVAETask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder), rest_joints="")


@dataclass(frozen=True, kw_only=True)
class GlobalDiffSpeechTask:
    """The speech model, whose published script does not exist; see ``cospeech.training.speech_loss``.

    Attributes:
        data: Windows of 60 frames with features.
        model: Sizes.
    """

    data: WindowData
    model: SpeechModelConfig = field(default_factory=SpeechModelConfig)

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _Speech(self)

    def rehearsal(self, folder: Path) -> GlobalDiffSpeechTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


@dataclass(frozen=True, kw_only=True)
class GlobalDiffDenoiserTask:
    """The denoiser.

    Attributes:
        data: Windows of 60 frames with features.
        model: Sizes.
        encoders: Folders of the trained masked VAEs, at strides 2 and 4; with () the latent term is left out.
        speech_model: Folder of the trained speech model; "" takes the true expressions.
        weights: Of the terms.
        rest_joints: GlobalDiff's ``rest_joint_position.mat``; "" takes the mean body for everybody.
        start_at_mean: Whether the last layers begin by saying the mean pose, which short trainings want.
        gate: What the blocks' gates begin at; published ones begin at 0, silent, and take long to be heard.
    """

    data: WindowData
    model: GlobalDiffConfig = field(default_factory=GlobalDiffConfig)
    encoders: tuple[str, ...] = ()
    speech_model: str = ""
    weights: DenoiserWeights = field(default_factory=DenoiserWeights)
    rest_joints: str = ""
    start_at_mean: bool = False
    gate: float = 0.0

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _Denoiser(self)

    def rehearsal(self, folder: Path) -> GlobalDiffDenoiserTask:
        """The same on a procedural clip; the frozen networks untrained, where there are any."""
        blocks = ((3,), (2, 2))[: len(self.encoders)]
        for number, stage_blocks in enumerate(blocks):
            save_model(MaskedVAE(MaskedVAEConfig(stage_blocks=stage_blocks)), folder / f"vae-{number}")
        if self.speech_model:
            sizes = SpeechModelConfig(feature_dim=self.model.feature_dim, num_speakers=self.model.num_speakers)
            save_model(SpeechModel(sizes), folder / "speech")
        return dataclasses.replace(
            self,
            data=self.data.rehearsal(folder),
            encoders=tuple(str(folder / f"vae-{number}") for number in range(len(blocks))),
            speech_model=str(folder / "speech") if self.speech_model else "",
            rest_joints="",
        )


class _Windows(NamedTuple):
    motion: Tensor  # (B, T, 333) global Rot6D rows, translation
    expressions: Tensor
    features: Tensor
    speaker: Tensor
    rest_joints: Tensor  # (B, J, 3)


class _GlobalDiffWindows(TrainingTask):
    flip_probability, published_flip = 0.0, False

    def __init__(self, data: WindowData, rest_joints: str = ""):
        self.data = data.open()
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.rest_joints = load_rest_joints(rest_joints) if rest_joints else {}

    def batch(self, items: Sequence[int], generator: torch.Generator) -> _Windows:
        window = self.data.batch(items)
        rest = [self.rest_joints.get(int(speaker), SMPLX.rest_joints) for speaker in window.speaker]
        axis_angle, translation, rest_joints = window.axis_angle, window.translation, torch.stack(rest).float()
        if self.flip_probability:
            flips = torch.rand(len(items), generator=generator) < self.flip_probability
            if self.published_flip:  # its rest joints are reflected, but keep their sides
                flipped = (*globaldiff_flip(axis_angle, translation), mirror_translation(rest_joints))
            else:
                mirrored = mirror_axis_angle(axis_angle, SMPLX), mirror_translation(translation)
                flipped = (*mirrored, mirror_joints(rest_joints, SMPLX))
            axis_angle = torch.where(flips[:, None, None, None], flipped[0], axis_angle)
            translation = torch.where(flips[:, None, None], flipped[1], translation)
            rest_joints = torch.where(flips[:, None, None], flipped[2], rest_joints)
        motion = torch.cat([axis_angle_to_rot6d(axis_angle).flatten(-2), translation], dim=-1)
        return _Windows(motion, window.expressions, window.features, window.speaker, rest_joints)

    def _mean(self, name: str) -> Tensor:
        windows = self.batch(range(min(self.num_items, 256)), torch.Generator())
        found: Tensor = getattr(windows, name).flatten(0, 1).mean(0)
        return found


class _VAE(_GlobalDiffWindows):
    def __init__(self, config: MaskedVAETask):
        super().__init__(config.data, config.rest_joints)
        self.model, self.loss = MaskedVAE(config.model), config.loss
        if config.start_at_mean:
            _say(self.model.decoder.head, self._mean("motion"))
        self.flip_probability, self.published_flip = config.flip_probability, config.published_flip

    def losses(self, model: nn.Module, batch: _Windows, clock: Clock) -> Terms:
        assert isinstance(model, MaskedVAE)
        target = measure_motion(batch.motion, batch.rest_joints)
        draws = draw_vae_step(model, batch.motion, clock.generator, mask_probability=self.loss.mask_probability)
        losses, _ = vae_losses(model, target, batch.rest_joints, draws, epoch=int(clock.epoch), config=self.loss)
        return terms(losses)


class _Speech(_GlobalDiffWindows):
    def __init__(self, config: GlobalDiffSpeechTask):
        super().__init__(config.data)
        self.model = SpeechModel(config.model)

    def losses(self, model: nn.Module, batch: _Windows, clock: Clock) -> Terms:
        assert isinstance(model, SpeechModel)
        return {"total": speech_loss(model, batch.features, batch.speaker, batch.expressions)}


class _Denoiser(_GlobalDiffWindows):
    def __init__(self, config: GlobalDiffDenoiserTask):
        super().__init__(config.data, config.rest_joints)
        self.model = GlobalDiffDenoiser(config.model)
        encoders = [load_model(MaskedVAE, folder) for folder in config.encoders]
        self.objective = DenoiserObjective(
            encoders, weights=config.weights, num_seed_frames=config.model.num_seed_frames
        )
        self.speech = load_model(SpeechModel, config.speech_model) if config.speech_model else None
        if config.start_at_mean:
            mean = self._mean("motion")
            for stream in (self.model.hand, self.model.body):
                _say(stream.head, mean[stream.channels])
        if config.gate:
            with torch.no_grad():
                for stream in (self.model.hand, self.model.body):
                    for block in stream.blocks:
                        bias = block.get_parameter("modulation.linear.bias")
                        bias.view(3, 3, -1)[:, 0] = config.gate

    def losses(self, model: nn.Module, batch: _Windows, clock: Clock) -> Terms:
        assert isinstance(model, GlobalDiffDenoiser)
        device = batch.motion.device
        for encoder in self.objective.encoders:
            encoder.to(device)
        draws = draw_step(batch.motion.shape, clock.generator, device=device)
        speaker = torch.zeros_like(batch.speaker) if draws.drops_speaker else batch.speaker
        inputs = DenoiserBatch(
            target=self.objective.target(batch.motion, batch.rest_joints),
            features=batch.features,
            expressions=self._expressions(batch, speaker),
            speaker=speaker,
            rest_joints=batch.rest_joints,
        )
        return terms(denoiser_losses(model, self.objective, inputs, draws))

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """A window from its speech and its first frames."""
        assert isinstance(self.model, GlobalDiffDenoiser)
        device = next(self.model.parameters()).device
        batch = _Windows(*(tensor.to(device) for tensor in self.batch([self.num_items + number], generator)))
        seed = batch.motion[:, : self._config.num_seed_frames]
        noise = torch.randn(batch.motion.shape, generator=generator).to(device)
        sampler = GlobalDiffSampler(overlap_frames=self._config.num_seed_frames)
        expressions = self._expressions(batch, batch.speaker)
        inputs = WindowInputs(noise, batch.features, expressions, batch.speaker)
        with torch.no_grad():
            motion = sampler.sample_window(bind_denoiser(self.model, inputs, seed, sampler.steps.clock), noise, seed)
        rotations = rot6d_to_matrix(rearrange(motion[0, :, :-3], "t (j c) -> t j c", c=6).cpu())
        local = matrix_to_axis_angle(global_to_local(rotations, SMPLX))
        return Motion(local_axis_angle=local, translation=motion[0, :, -3:].cpu(), rate_hz=30)

    @property
    def _config(self) -> GlobalDiffConfig:
        assert isinstance(self.model, GlobalDiffDenoiser)
        return self.model.config

    def _expressions(self, batch: _Windows, speaker: Tensor) -> Tensor:
        if self.speech is None:
            return batch.expressions
        return hear_expressions(self.speech.to(batch.motion.device), batch.features, speaker)


@torch.no_grad()
def _say(head: nn.Linear, mean: Tensor) -> None:
    head.bias.copy_(mean)
    head.weight.mul_(0.1)
