"""GlobalDiff's trainings before the denoiser: masked VAEs, and the speech model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech.data import load_rest_joints
from cospeech.models import (
    MaskedVAE,
    MaskedVAEConfig,
    SpeechModel,
    SpeechModelConfig,
)
from cospeech.representations import globaldiff_flip
from cospeech.rotations import axis_angle_to_rot6d
from cospeech.skeleton import SMPLX, mirror_axis_angle, mirror_joints, mirror_translation
from cospeech.training.globaldiff import (
    speech_loss,
)
from cospeech.training.masked_vae import VAETrainingConfig, draw_vae_step, vae_losses
from cospeech.training.motion_errors import measure_motion
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData, say_mean

__all__ = ["GlobalDiffSpeechTask", "GlobalDiffWindows", "MaskedVAETask", "Windows"]


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


class Windows(NamedTuple):
    """A batch.

    Attributes:
        motion: Global Rot6D by rows, then the translation, ``(B, T, 333)``.
        expressions: ``(B, T, 100)``.
        features: Of the speech, ``(B, T, C)``.
        speaker: From 1, ``(B,)``.
        rest_joints: ``(B, J, 3)``.
    """

    motion: Tensor
    expressions: Tensor
    features: Tensor
    speaker: Tensor
    rest_joints: Tensor


class GlobalDiffWindows(TrainingTask):
    """What all of them learn from."""

    flip_probability, published_flip = 0.0, False

    def __init__(self, data: WindowData, rest_joints: str = ""):
        self.data = data.open()
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.rest_joints = load_rest_joints(rest_joints) if rest_joints else {}

    def batch(self, items: Sequence[int], generator: torch.Generator) -> Windows:
        """See ``TrainingTask``; some windows mirrored, where the task asks for it."""
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
        return Windows(motion, window.expressions, window.features, window.speaker, rest_joints)

    def mean(self, name: str) -> Tensor:
        """The mean of some windows to learn from, ``(C,)``."""
        windows = self.batch(range(min(self.num_items, 256)), torch.Generator())
        found: Tensor = getattr(windows, name).flatten(0, 1).mean(0)
        return found


class _VAE(GlobalDiffWindows):
    def __init__(self, config: MaskedVAETask):
        super().__init__(config.data, config.rest_joints)
        self.model, self.loss = MaskedVAE(config.model), config.loss
        if config.start_at_mean:
            say_mean(self.model.decoder.head, self.mean("motion"))
        self.flip_probability, self.published_flip = config.flip_probability, config.published_flip

    def losses(self, model: nn.Module, batch: Windows, clock: Clock) -> Terms:
        assert isinstance(model, MaskedVAE)
        target = measure_motion(batch.motion, batch.rest_joints)
        draws = draw_vae_step(model, batch.motion, clock.generator, mask_probability=self.loss.mask_probability)
        losses, _ = vae_losses(model, target, batch.rest_joints, draws, epoch=int(clock.epoch), config=self.loss)
        return terms(losses)


class _Speech(GlobalDiffWindows):
    def __init__(self, config: GlobalDiffSpeechTask):
        super().__init__(config.data)
        self.model = SpeechModel(config.model)

    def losses(self, model: nn.Module, batch: Windows, clock: Clock) -> Terms:
        assert isinstance(model, SpeechModel)
        return {"total": speech_loss(model, batch.features, batch.speaker, batch.expressions)}
