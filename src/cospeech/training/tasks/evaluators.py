"""Trainings of the autoencoders behind the Fréchet gesture distances."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech.models import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.motion import Motion
from cospeech.rotations import axis_angle_to_rot6d, geodesic_distance, matrix_to_axis_angle
from cospeech.training.gesture_autoencoders import joint_matrices, skeleton_autoencoder_losses
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData, local_axis_angle

__all__ = ["SkeletonAutoencoderTask"]

_MEAN_WINDOWS = 256


@dataclass(frozen=True, kw_only=True)
class SkeletonAutoencoderTask:
    """The extractor of the Fréchet gesture distance on 55 joints.

    Attributes:
        data: Windows of 64 frames; other lengths must be a multiple of the network's stride.
        model: Sizes; the defaults are those of the published extractor.
        start_at_mean: Whether the decoder begins at the mean pose and with larger weights, which short trainings want.
    """

    data: WindowData
    model: SkeletonAutoencoderConfig = field(default_factory=SkeletonAutoencoderConfig)
    start_at_mean: bool = False

    def __post_init__(self) -> None:
        if len(self.model.parents) != 55:
            raise ValueError(f"`model.parents` must be those of the 55 joints; got {len(self.model.parents)}.")
        if self.data.cut.window_frames % self.model.stride:
            raise ValueError(
                f"`data.cut.window_frames` must be a multiple of {self.model.stride}; "
                f"got {self.data.cut.window_frames}."
            )

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _SkeletonAutoencoder(self)

    def rehearsal(self, folder: Path) -> SkeletonAutoencoderTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


class _SkeletonAutoencoder(TrainingTask):
    def __init__(self, config: SkeletonAutoencoderTask):
        self.data = config.data.open()
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.model: SkeletonAutoencoder = SkeletonAutoencoder(config.model)
        if config.start_at_mean:
            self._start_at_mean()

    @cached_property
    def mean_pose(self) -> Tensor:
        """Mean channels of windows to learn from, ``(6 J)``; as rotations, the pose to be better than."""
        return self.batch(self.data.few(_MEAN_WINDOWS), torch.Generator()).mean((0, 1))

    def batch(self, items: Sequence[int], generator: torch.Generator) -> Tensor:
        """Rot6D rows of local rotations, ``(B, T, 330)``."""
        return axis_angle_to_rot6d(local_axis_angle(self.data.batch(items))).flatten(-2)

    def _start_at_mean(self) -> None:
        """By torch's own start little of a latent would come through the decoder, and all clips would look alike."""
        for conv in (*self.model.residuals.modules(), *self.model.upsampling.modules()):
            if isinstance(conv, nn.Conv1d):
                nn.init.kaiming_normal_(conv.weight, a=0.2)
        last = self.model.out
        assert last.bias is not None
        with torch.no_grad():
            last.bias.copy_(self.mean_pose)
            last.weight.mul_(0.1)

    def losses(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        assert isinstance(model, SkeletonAutoencoder)
        return terms(skeleton_autoencoder_losses(model, batch))

    def measure(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        """The losses, and the mean angle between what comes back and what went in, beside that of the mean pose."""
        target = joint_matrices(batch)
        mean = joint_matrices(self.mean_pose.to(batch)[None, None])
        angles = [geodesic_distance(x, target) for x in (joint_matrices(model(batch)), mean.expand_as(target))]
        degrees = [torch.rad2deg(angle.mean()) for angle in angles]
        return {**self.losses(model, batch, clock), "error_degrees": degrees[0], "mean_pose_degrees": degrees[1]}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """A held-out window through the autoencoder, where the body truly is."""
        item = self.num_items + number
        rot6d, place = self.batch([item], generator), self.data.batch([item]).translation[0]
        with torch.no_grad():
            said = self.model(rot6d.to(next(self.model.parameters()).device)).cpu()
        return Motion(local_axis_angle=matrix_to_axis_angle(joint_matrices(said)[0]), translation=place, rate_hz=30)
