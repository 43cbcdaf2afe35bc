"""DiffSHEG's training: UniEG on SMPL-X windows, as published for SHOW."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from cospeech.hub import load_tensors, save_model, save_tensors
from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.motion import Motion
from cospeech.representations import DiffSHEGShow
from cospeech.training.diffsheg import (
    DiffSHEGBatch,
    DiffSHEGWeights,
    diffsheg_losses,
    draw_diffsheg_step,
    null_rows,
)
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData, local_axis_angle

__all__ = ["DiffSHEGTask"]


@dataclass(frozen=True, kw_only=True)
class DiffSHEGTask:
    """UniEG.

    Attributes:
        data: Windows with "diffsheg-..." features; 88 frames as published.
        model: Sizes; the defaults are those of SHOW.
        weights: Of the terms.
        null_share: Of the rows of a batch that see no condition.
        least_deviation: Channels that move less are normalised as if they moved so much.
    """

    data: WindowData
    model: DiffSHEGConfig = field(default_factory=DiffSHEGConfig.show)
    weights: DiffSHEGWeights = field(default_factory=DiffSHEGWeights)
    null_share: float = 0.2
    least_deviation: float = 1e-3

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _DiffSHEG(self)

    def rehearsal(self, folder: Path) -> DiffSHEGTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


class _DiffSHEG(TrainingTask):
    def __init__(self, config: DiffSHEGTask):
        self.data, self.config = config.data.open(), config
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.model = DiffSHEGDenoiser(config.model)
        self.plain = DiffSHEGShow(mean=torch.zeros(232), std=torch.ones(232))
        path = Path(config.data.prepared) / "diffsheg" / "statistics.safetensors"
        if not path.exists():  # over windows, as they are seen
            channels = self._channels(range(0, self.num_items, max(1, self.num_items // 5000))).flatten(0, 1)
            found = {"mean": channels.mean(0), "std": channels.std(0).clamp_min(config.least_deviation)}
            save_tensors(found, path)
        statistics = load_tensors(path)
        self.representation = DiffSHEGShow(mean=statistics["mean"], std=statistics["std"])

    def batch(self, items: Sequence[int], generator: torch.Generator) -> DiffSHEGBatch:
        window = self.data.batch(items)
        mel, speech = torch.split(
            window.features, [self.config.model.mel_dim, self.config.model.speech_feature_dim], dim=-1
        )
        speaker = (window.speaker - 1).clamp(0, self.config.model.num_speakers - 1)
        return DiffSHEGBatch(self.representation.normalize(self._channels(items)), mel, speech, speaker)

    def losses(self, model: nn.Module, batch: DiffSHEGBatch, clock: Clock) -> Terms:
        assert isinstance(model, DiffSHEGDenoiser)
        draws = draw_diffsheg_step(model, batch.clean, clock.generator)
        rows = null_rows(len(batch.clean), self.config.null_share) if self.config.model.unconditional else None
        rows = rows.to(batch.clean.device) if rows is not None else None
        return terms(diffsheg_losses(model, batch, draws, weights=self.config.weights, unconditional=rows))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """The network, and the statistics that its channels were normalised by."""
        save_model(self.model, folder)
        statistics = {"motion_mean": self.representation.mean, "motion_std": self.representation.std}
        save_tensors(statistics, Path(folder) / "statistics.safetensors")

    def _channels(self, items: Sequence[int]) -> Tensor:
        """Channels that are not normalised, ``(B, T, 232)``."""
        window = self.data.batch(items)
        size = len(window.axis_angle)
        clip = Motion(  # all windows one after the other, since nothing here looks from frame to frame
            local_axis_angle=local_axis_angle(window).flatten(0, 1),
            translation=window.translation.flatten(0, 1),
            expressions=window.expressions.flatten(0, 1),
            rate_hz=30,
        )
        return rearrange(self.plain.encode(clip), "(b t) c -> b t c", b=size)
