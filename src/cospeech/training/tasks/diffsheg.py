"""DiffSHEG's training: UniEG as published for BEAT or for SHOW; the channels of the model say which.

| | BEAT | SHOW |
| --- | --- | --- |
| windows | of ``BeatSource``, or of takes that are retargeted so: 34 frames at 15 Hz | SMPL-X, 88 frames at 30 Hz |
| channels | 141 + 51 | 129 + 103 |
| frames | count more where gestures mean something | count alike |
| rows without condition | none | the first fifth of each batch |
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from cospeech.audio import ProsodyConfig
from cospeech.audio.diffsheg import DIFFSHEG_SPEECH_ENCODER
from cospeech.hub import save_model
from cospeech.models import DiffSHEGConfig, DiffSHEGDenoiser
from cospeech.motion import Motion
from cospeech.pipelines.diffsheg import DiffSHEGSettings, save_diffsheg
from cospeech.pipelines.diffsheg_speech import DiffSHEGWindow
from cospeech.pipelines.diffsheg_windows import Clip, DiffSHEGSampling, WindowSampler
from cospeech.training.diffsheg import (
    DiffSHEGBatch,
    DiffSHEGWeights,
    diffsheg_losses,
    draw_diffsheg_step,
    null_rows,
)
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.diffsheg_channels import Form, WindowChannels
from cospeech.training.tasks.windows import WindowData

__all__ = ["DiffSHEGTask"]


@dataclass(frozen=True, kw_only=True)
class DiffSHEGTask:
    """UniEG.

    Attributes:
        data: Windows with "diffsheg-..." features.
        model: Sizes; the defaults are those of SHOW. Gesture and expression of 141 and 51 channels are BEAT, of 129 and
            103 SHOW.
        weights: Of the terms.
        null_share: Of the rows of a batch that see no condition, if the model can do without.
        statistics: File with the means and deviations that channels are normalised by: the published arrays
            (``axis_angle_mean``, ..., ``face_std``; SHOW ``motion_mean`` and ``motion_std``), or what a training has
            saved. By default they are those of the data.
        least_deviation: Channels of the data that move less are normalised as if they moved so much.
    """

    data: WindowData
    model: DiffSHEGConfig = field(default_factory=DiffSHEGConfig.show)
    weights: DiffSHEGWeights = field(default_factory=DiffSHEGWeights)
    null_share: float = 0.2
    statistics: str = ""
    least_deviation: float = 1e-3

    def __post_init__(self) -> None:
        dims = self.model.gesture_dim, self.model.expression_dim
        if dims not in _FORMS:
            known = " or ".join(f"{gesture} and {expression}" for gesture, expression in _FORMS)
            raise ValueError(
                f"`model` must have gesture_dim and expression_dim of {known}; got {dims[0]} and {dims[1]}."
            )

    @property
    def form(self) -> Form:
        """What the model is made for."""
        return _FORMS[self.model.gesture_dim, self.model.expression_dim]

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _DiffSHEG(self)

    def rehearsal(self, folder: Path) -> DiffSHEGTask:
        """The same on a procedural clip."""
        data = self.data.rehearsal(folder, retarget="beat" if self.form == "beat" else "")
        return dataclasses.replace(self, data=data, statistics="")


_FORMS: dict[tuple[int, int], Form] = {(141, 51): "beat", (129, 103): "show"}


class _DiffSHEG(TrainingTask):
    def __init__(self, config: DiffSHEGTask):
        self.data, self.config = config.data.open(), config
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.model = DiffSHEGDenoiser(config.model)
        self.channels = WindowChannels(
            config.data,
            self.data,
            config.form,
            statistics=config.statistics,
            least_deviation=config.least_deviation,
        )

    def batch(self, items: Sequence[int], generator: torch.Generator) -> DiffSHEGBatch:
        window = self.data.batch(items)
        mel, speech = torch.split(
            window.features, [self.config.model.mel_dim, self.config.model.speech_feature_dim], dim=-1
        )
        return DiffSHEGBatch(
            clean=self.channels(window),
            mel=mel,
            speech=speech,
            speaker=(window.speaker - 1).clamp(0, self.config.model.num_speakers - 1),
            semantic=window.semantic if self.config.form == "beat" else None,
        )

    def losses(self, model: nn.Module, batch: DiffSHEGBatch, clock: Clock) -> Terms:
        assert isinstance(model, DiffSHEGDenoiser)
        draws = draw_diffsheg_step(model, batch.clean, clock.generator)
        rows = null_rows(len(batch.clean), self.config.null_share) if self.config.model.unconditional else None
        rows = rows.to(batch.clean.device) if rows is not None else None
        return terms(diffsheg_losses(model, batch, draws, weights=self.config.weights, unconditional=rows))

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """A window from its speech."""
        assert isinstance(self.model, DiffSHEGDenoiser)
        device = next(self.model.parameters()).device
        batch = self.batch([self.num_items + number], generator)
        heard = DiffSHEGWindow(batch.mel[0].to(device), batch.speech[0].to(device), batch.mel.shape[1], is_last=True)
        sampler = WindowSampler(self.model, self._sampling.foppas(self.model.config.num_timesteps), self._sampling)
        ((_, frames),) = sampler.run([Clip(iter([heard]), int(batch.speaker[0]) + 1, generator)])
        return self.channels.representation.decode(frames.cpu())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """All that ``cospeech.load_pipeline`` reads; of a rehearsal, the network alone."""
        assert isinstance(self.model, DiffSHEGDenoiser)
        used, hearing = self.channels.representation, self.config.data.cut.features
        if hearing not in ("diffsheg-prosody", "diffsheg-hubert"):
            save_model(self.model, folder)
            return
        settings = DiffSHEGSettings(
            kind=self.config.form,
            rate_hz=used.rate_hz,
            prosody=ProsodyConfig(frame_rate_hz=used.rate_hz) if hearing == "diffsheg-prosody" else None,
            hubert=DIFFSHEG_SPEECH_ENCODER if hearing == "diffsheg-hubert" else None,
            sampling=self._sampling,
        )
        save_diffsheg(folder, self.model, used, settings)

    @property
    def _sampling(self) -> DiffSHEGSampling:
        """As published, in windows of the length that was learned; guided, if the model can do without condition."""
        published = DiffSHEGSampling() if self.config.form == "beat" else DiffSHEGSampling.show()
        scale = published.guidance_scale if self.config.model.unconditional else 1.0
        return dataclasses.replace(published, window_frames=self.config.data.cut.window_frames, guidance_scale=scale)
