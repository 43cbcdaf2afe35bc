"""EMAGE's trainings: the VQ-VAE of one part, the global motion network, the masked transformer over all of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import nn

from cospeech.data import EmageBatch
from cospeech.data.beat2 import SAMPLE_RATE_HZ
from cospeech.hub import load_model
from cospeech.models import (
    EMAGE_PART_JOINTS,
    EmageConfig,
    EmageGlobalMotion,
    EmageMotionCodec,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    EmageVQVAEConfig,
)
from cospeech.models.emage_generation import SAMPLES_PER_FRAME
from cospeech.motion import Motion
from cospeech.pipelines import EmagePipeline, make_emage_codec
from cospeech.representations import emage_foot_contact
from cospeech.rotations import axis_angle_to_matrix, axis_angle_to_rot6d, matrix_to_axis_angle, rot6d_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics, global_to_local
from cospeech.training.emage import draw_emage_mask, emage_losses, emage_mask_ratio, emage_targets
from cospeech.training.emage_motion import emage_parts, global_motion_losses, vqvae_losses
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData

__all__ = ["EmageGlobalMotionTask", "EmageTransformerTask", "EmageVQVAETask"]

PART_DIMS = {"face": 106, "upper": 78, "hands": 180, "lower": 61}


@dataclass(frozen=True, kw_only=True)
class EmageVQVAETask:
    """The VQ-VAE of one part.

    Attributes:
        data: Windows of 64 frames.
        part: Of the body.
        model: Sizes; four stages for the lower body as published.
        start_at_mean: Whether the last layer begins by saying the mean pose, which short trainings want.
    """

    data: WindowData
    part: Literal["face", "upper", "hands", "lower"]
    model: EmageVQVAEConfig
    start_at_mean: bool = False

    def __post_init__(self) -> None:
        if self.model.motion_dim != PART_DIMS[self.part]:
            raise ValueError(f"`model.motion_dim` of {self.part} must be {PART_DIMS[self.part]}.")

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _VQVAE(self)

    def rehearsal(self, folder: Path) -> EmageVQVAETask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


@dataclass(frozen=True, kw_only=True)
class EmageGlobalMotionTask:
    """The network that tells from the legs where the body goes.

    Attributes:
        data: Windows of 64 frames.
        model: Sizes.
    """

    data: WindowData
    model: EmageVQVAEConfig = field(default_factory=lambda: EmageVQVAEConfig(motion_dim=61, num_stages=4))

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _GlobalMotion(self)

    def rehearsal(self, folder: Path) -> EmageGlobalMotionTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


@dataclass(frozen=True, kw_only=True)
class EmageTransformerTask:
    """The masked audio-gesture transformer.

    Attributes:
        data: Windows of 64 frames.
        face: Folder of the trained VQ-VAE; "" for an untrained one, of the transformer's code sizes.
        upper: The same.
        hands: The same.
        lower: The same.
        global_motion: The same of the global motion network.
        model: Sizes.
    """

    data: WindowData
    face: str
    upper: str
    hands: str
    lower: str
    global_motion: str
    model: EmageConfig = field(default_factory=EmageConfig)

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _Transformer(self)

    def rehearsal(self, folder: Path) -> EmageTransformerTask:
        """The same on a procedural clip, with untrained motion networks."""
        untrained = dict.fromkeys(("face", "upper", "hands", "lower", "global_motion"), "")
        return dataclasses.replace(self, data=self.data.rehearsal(folder), **untrained)  # type: ignore[arg-type]


class _EmageWindows(TrainingTask):
    def __init__(self, data: WindowData):
        self.data = data.open()
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes

    def batch(self, items: Sequence[int], generator: torch.Generator) -> EmageBatch:
        """Windows as EMAGE takes them. Contact is labelled on the mean rest pose, window by window."""
        window = self.data.batch(items)
        local = global_to_local(axis_angle_to_matrix(window.axis_angle), SMPLX)
        joints = forward_kinematics(local, SMPLX, window.translation)
        return EmageBatch(
            rot6d=axis_angle_to_rot6d(matrix_to_axis_angle(local)).flatten(-2),
            expressions=window.expressions,
            translation=window.translation,
            contact=emage_foot_contact(joints[:, :, list(SMPLX.groups["feet"])]).float(),
            waveform=window.waveform[:, : SAMPLES_PER_FRAME * window.axis_angle.shape[1]],
            speaker=torch.zeros(len(items), dtype=torch.long),  # as published: one speaker's data, number 0
            parts=frozenset(EmageParts._fields),
            data_set="beat2",
        )


class _VQVAE(_EmageWindows):
    def __init__(self, config: EmageVQVAETask):
        super().__init__(config.data)
        self.part, self.model = config.part, EmageVQVAE(config.model)
        if config.start_at_mean:
            motion = self._channels(self.batch(range(min(self.num_items, 64)), torch.Generator()))
            last = self.model.decoder.out
            assert last.bias is not None
            with torch.no_grad():
                last.bias.copy_(motion.flatten(0, 1).mean(0))
                last.weight.mul_(0.5)

    def losses(self, model: nn.Module, batch: EmageBatch, clock: Clock) -> Terms:
        assert isinstance(model, EmageVQVAE)
        return terms(vqvae_losses(self.part, model, self._channels(batch)))

    def measure(self, model: nn.Module, batch: EmageBatch, clock: Clock) -> Terms:
        """The losses, and how many codes are in use by their perplexity."""
        assert isinstance(model, EmageVQVAE)
        motion = self._channels(batch)
        counts = torch.bincount(model.encode_indices(motion).flatten(), minlength=model.config.num_codes)
        shares = counts / counts.sum()
        return {**self.losses(model, batch, clock), "perplexity": (-(shares * (shares + 1e-10).log()).sum()).exp()}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """The part as its codes tell it, on the body that is true otherwise."""
        assert isinstance(self.model, EmageVQVAE)
        batch = self.batch([self.num_items + number], generator)
        device = next(self.model.parameters()).device
        with torch.no_grad():
            said = self.model(self._channels(batch).to(device)).reconstruction[0].cpu()
        joints = list(EMAGE_PART_JOINTS[self.part])
        local = matrix_to_axis_angle(rot6d_to_matrix(rearrange(batch.rot6d[0], "... (j c) -> ... j c", c=6)))
        local[:, joints] = matrix_to_axis_angle(rot6d_to_matrix(said[:, : 6 * len(joints)].unflatten(-1, (-1, 6))))
        return Motion(local_axis_angle=local, translation=batch.translation[0], rate_hz=30)

    def _channels(self, batch: EmageBatch) -> torch.Tensor:
        channels: torch.Tensor = getattr(emage_parts(batch), self.part)
        return channels


class _GlobalMotion(_EmageWindows):
    def __init__(self, config: EmageGlobalMotionTask):
        super().__init__(config.data)
        self.model = EmageGlobalMotion(config.model)

    def losses(self, model: nn.Module, batch: EmageBatch, clock: Clock) -> Terms:
        assert isinstance(model, EmageGlobalMotion)
        lower = emage_parts(batch).lower
        assert lower is not None
        return terms(global_motion_losses(model, lower, batch.translation))


class _Transformer(_EmageWindows):
    def __init__(self, config: EmageTransformerTask):
        super().__init__(config.data)
        self.model = EmageTransformer(config.model)
        sizes = {"latent_dim": config.model.code_dim, "num_codes": config.model.num_codes}
        networks = {}
        for part, dim in PART_DIMS.items():
            folder = getattr(config, part)
            fresh = EmageVQVAEConfig(motion_dim=dim, **sizes)
            networks[part] = load_model(EmageVQVAE, folder) if folder else EmageVQVAE(fresh).eval()
        fresh = EmageVQVAEConfig(motion_dim=61, latent_dim=config.model.code_dim)
        folder = config.global_motion
        walk = load_model(EmageGlobalMotion, folder) if folder else EmageGlobalMotion(fresh).eval()
        self.codec: EmageMotionCodec = make_emage_codec(networks, walk).requires_grad_(False)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The losses call the transformer by its methods, which call these."""
        return tuple(self.model.children())

    def losses(self, model: nn.Module, batch: EmageBatch, clock: Clock) -> Terms:
        assert isinstance(model, EmageTransformer)
        targets = emage_targets(self.codec.to(batch.rot6d.device), batch)
        ratio = emage_mask_ratio(clock.step, clock.total_steps)
        mask = draw_emage_mask(targets.motion.shape, ratio, clock.generator)
        return terms(emage_losses(model, targets, batch.waveform, batch.speaker, mask))

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """What the pipeline makes of a window's speech alone."""
        window = self.data.batch([self.num_items + number])
        return self._pipeline()(window.waveform[0], source_rate_hz=SAMPLE_RATE_HZ, progress=False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """All networks, as ``cospeech.load_pipeline`` reads them."""
        self._pipeline().save_pretrained(folder)

    def _pipeline(self) -> EmagePipeline:
        assert isinstance(self.model, EmageTransformer)
        return EmagePipeline(self.model, self.codec.to(next(self.model.parameters()).device))
