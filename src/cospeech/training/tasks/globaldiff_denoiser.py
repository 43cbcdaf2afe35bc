"""GlobalDiff's last training: the denoiser under its constraints; what comes out is a pipeline."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from cospeech.audio import GLOBALDIFF_SPEECH_ENCODER, ProsodyConfig
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
from cospeech.pipelines.globaldiff import GlobalDiffSettings, WindowInputs, bind_denoiser, save_globaldiff
from cospeech.rotations import matrix_to_axis_angle, rot6d_to_matrix
from cospeech.samplers import GlobalDiffSampler
from cospeech.skeleton import SMPLX, global_to_local
from cospeech.training.globaldiff import (
    DenoiserBatch,
    DenoiserObjective,
    DenoiserWeights,
    denoiser_losses,
    draw_step,
    hear_expressions,
)
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.globaldiff import GlobalDiffWindows, Windows
from cospeech.training.tasks.windows import WindowData, say_mean

__all__ = ["GlobalDiffDenoiserTask"]

_ASKED_WINDOWS = 2000  # for the poses that speakers begin with


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


class _Denoiser(GlobalDiffWindows):
    def __init__(self, config: GlobalDiffDenoiserTask):
        super().__init__(config.data, config.rest_joints)
        self.config, self.model = config, GlobalDiffDenoiser(config.model)
        encoders = [load_model(MaskedVAE, folder) for folder in config.encoders]
        self.objective = DenoiserObjective(
            encoders, weights=config.weights, num_seed_frames=config.model.num_seed_frames
        )
        self.speech = load_model(SpeechModel, config.speech_model) if config.speech_model else None
        if config.start_at_mean:
            mean = self.mean("motion")
            for stream in (self.model.hand, self.model.body):
                say_mean(stream.head, mean[stream.channels])
        if config.gate:
            with torch.no_grad():
                for stream in (self.model.hand, self.model.body):
                    for block in stream.blocks:
                        bias = block.get_parameter("modulation.linear.bias")
                        bias.view(3, 3, -1)[:, 0] = config.gate

    def losses(self, model: nn.Module, batch: Windows, clock: Clock) -> Terms:
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
        batch = Windows(*(tensor.to(device) for tensor in self.batch([self.num_items + number], generator)))
        seed = batch.motion[:, : self._config.num_seed_frames]
        noise = torch.randn(batch.motion.shape, generator=generator).to(device)
        expressions = self._expressions(batch, batch.speaker)
        inputs = WindowInputs(noise, batch.features, expressions, batch.speaker)
        with torch.no_grad():
            predict = bind_denoiser(self.model, inputs, seed, self._sampler.steps.clock)
            motion = self._sampler.sample_window(predict, noise, seed)
        rotations = rot6d_to_matrix(rearrange(motion[0, :, :-3], "t (j c) -> t j c", c=6).cpu())
        local = matrix_to_axis_angle(global_to_local(rotations, SMPLX))
        return Motion(local_axis_angle=local, translation=motion[0, :, -3:].cpu(), rate_hz=30)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """All that ``cospeech.load_pipeline`` reads; the denoiser alone, if nothing makes expressions of speech."""
        assert isinstance(self.model, GlobalDiffDenoiser)
        hearing = self.config.data.cut.features
        if self.speech is None or hearing not in ("prosody", "wavlm"):
            super().save(folder)
            return
        settings = GlobalDiffSettings(
            prosody=ProsodyConfig() if hearing == "prosody" else None,
            speech_encoder=GLOBALDIFF_SPEECH_ENCODER if hearing == "wavlm" else None,
            window_frames=self.config.data.cut.window_frames,
            sampler=self._sampler,
        )
        save_globaldiff(folder, self.model, self.speech, self._first_poses(), settings)

    def _first_poses(self) -> Tensor:
        """How each speaker begins a clip: as that window does whose beginning is nearest to their mean pose."""
        windows = self.batch(self.data.few(_ASKED_WINDOWS), torch.Generator())
        found = []
        for speaker in range(1, self._config.num_speakers):
            own = windows.speaker == speaker
            motion = windows.motion[own] if bool(own.any()) else windows.motion
            beginnings = motion[:, : self._config.num_seed_frames]
            found.append(beginnings[(beginnings - motion.mean((0, 1))).square().sum((1, 2)).argmin()])
        return torch.stack(found)

    @property
    def _sampler(self) -> GlobalDiffSampler:
        return GlobalDiffSampler(overlap_frames=self._config.num_seed_frames)

    @property
    def _config(self) -> GlobalDiffConfig:
        assert isinstance(self.model, GlobalDiffDenoiser)
        return self.model.config

    def _expressions(self, batch: Windows, speaker: Tensor) -> Tensor:
        if self.speech is None:
            return batch.expressions
        return hear_expressions(self.speech.to(batch.motion.device), batch.features, speaker)
