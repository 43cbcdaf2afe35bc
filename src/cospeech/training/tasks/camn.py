"""CaMN's and DisCo's trainings: windows of which every second frame is seen; DisCo's labels and balanced batches.

DisCo's labels are made once, from windows to learn from alone, and kept beside them. Its items are drawn so that each
content label is as likely as any other.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cospeech.hub import load_tensors, save_tensors
from cospeech.models import CamnConfig, CamnModel, DiscoConfig, DiscoModel
from cospeech.models.emage_generation import AUDIO_RATE_HZ, FRAME_RATE_HZ, SAMPLES_PER_FRAME
from cospeech.motion import Motion
from cospeech.pipelines import UpperBodyPipeline
from cospeech.representations import LOCAL_UPPER_JOINTS
from cospeech.rotations import axis_angle_to_rot6d, geodesic_distance, rot6d_to_matrix
from cospeech.training.camn import (
    LABELLED_JOINTS,
    balancing_weights,
    camn_losses,
    content_labels,
    disco_losses,
    first_frames,
    rhythm_labels,
)
from cospeech.training.order import seeded
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.windows import WindowData, local_axis_angle, main_process_first, say_mean

__all__ = ["CamnTask", "DiscoTask"]

_MOTION_DIM = 6 * len(LOCAL_UPPER_JOINTS)
_AT_ONCE = 256  # windows that are read together


@dataclass(frozen=True, kw_only=True)
class CamnTask:
    """CaMN.

    Attributes:
        data: Windows of 128 frames.
        model: Sizes.
        unseeded_share: Of windows whose first frames the network is not shown, as when nobody gives a beginning. As
            published all are shown.
        start_at_mean: Whether the last layers begin by saying the mean pose, which short trainings want.
    """

    data: WindowData
    model: CamnConfig = field(default_factory=CamnConfig)
    unseeded_share: float = 0.0
    start_at_mean: bool = False

    def __post_init__(self) -> None:
        _check(self.model.motion_dim, self.unseeded_share)

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _Camn(self)

    def rehearsal(self, folder: Path) -> CamnTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


@dataclass(frozen=True, kw_only=True)
class DiscoTask:
    """DisCo.

    Attributes:
        data: Windows of 128 frames, at hand.
        model: Sizes.
        num_labels: Of content, and of rhythm.
        unseeded_share: See ``CamnTask``.
        start_at_mean: See ``CamnTask``.
    """

    data: WindowData
    model: DiscoConfig = field(default_factory=DiscoConfig)
    num_labels: int = 10
    unseeded_share: float = 0.0
    start_at_mean: bool = False

    def __post_init__(self) -> None:
        _check(self.model.motion_dim, self.unseeded_share)
        if self.num_labels < 1:
            raise ValueError(f"`num_labels` must be at least 1; got {self.num_labels}.")
        if self.data.stream:
            raise ValueError("`data.stream` must be false: labels are clusters of all windows")

    def build(self) -> TrainingTask:
        """The task, its windows prepared and labelled where that was not done."""
        return _Disco(self)

    def rehearsal(self, folder: Path) -> DiscoTask:
        """The same on a procedural clip."""
        return dataclasses.replace(self, data=self.data.rehearsal(folder))


class _Batch(NamedTuple):
    motion: Tensor  # (B, T // 2, 258)
    waveform: Tensor
    speaker: Tensor
    labels: Tensor  # (B, 2), of content and of rhythm; (B, 0) for CaMN


class _UpperBody(TrainingTask):
    model: CamnModel | DiscoModel

    def __init__(self, config: CamnTask | DiscoTask):
        self.data, self.unseeded_share = config.data.open(), config.unseeded_share
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.labels = torch.zeros(self.num_items + self.num_held_out, 0, dtype=torch.long)

    def batch(self, items: Sequence[int], generator: torch.Generator) -> _Batch:
        window = self.data.batch(items)
        num_frames = window.axis_angle.shape[1]
        seen = window._replace(axis_angle=window.axis_angle[:, : num_frames // 2 * 2 : 2])
        local = local_axis_angle(seen)[:, :, list(LOCAL_UPPER_JOINTS)]
        return _Batch(
            motion=axis_angle_to_rot6d(local).flatten(2),
            waveform=window.waveform[:, : SAMPLES_PER_FRAME * num_frames],
            speaker=self._speaker_rows(window.speaker),
            labels=self.labels[list(items)],
        )

    def measure(self, model: nn.Module, batch: _Batch, clock: Clock) -> Terms:
        """The losses; and mean angles in degrees: with the first frames shown, without, and of the mean pose."""
        assert isinstance(model, (CamnModel, DiscoModel))
        num_frames = batch.motion.shape[1]
        found = dict(self.losses(model, batch, clock))
        for name, shown in (("angle_degrees", True), ("unseeded_angle_degrees", False)):
            output = model(batch.waveform, batch.speaker, first_frames(model, batch.motion, shown))
            said: Tensor = output if isinstance(output, Tensor) else output.motion
            found[name] = _mean_degrees(said[:, :num_frames], batch.motion)
        mean = self.mean.to(batch.motion.device).expand_as(batch.motion)
        return {**found, "mean_pose_angle_degrees": _mean_degrees(mean, batch.motion)}

    def sample(self, number: int, generator: torch.Generator) -> Motion:
        """What the pipeline makes of a window's speech, from its true beginning where the network has seen such."""
        window = self.data.batch([self.num_items + number])
        truth = Motion(
            local_axis_angle=local_axis_angle(window)[0], translation=window.translation[0], rate_hz=FRAME_RATE_HZ
        )
        return UpperBodyPipeline(self.model)(
            window.waveform[0],
            source_rate_hz=AUDIO_RATE_HZ,
            speaker=int(self._speaker_rows(window.speaker)) + 1,
            beginning=truth if self.unseeded_share < 1 else None,
            progress=False,
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """The network, as ``cospeech.load_pipeline`` reads it."""
        UpperBodyPipeline(self.model).save_pretrained(folder)

    @cached_property
    def mean(self) -> Tensor:
        """The mean of some hundred windows to learn from, ``(258,)``."""
        step = 1 if self.shard_sizes else max(1, self.num_items // _AT_ONCE)
        items = range(0, self.num_items, step)[:_AT_ONCE]
        return self.batch(items, torch.Generator()).motion.flatten(0, 1).mean(0)

    def _seeded(self, batch: _Batch, clock: Clock) -> bool | Tensor:
        if self.unseeded_share == 0:
            return True
        draws = torch.rand(len(batch.motion), generator=clock.generator)
        return (draws >= self.unseeded_share).to(batch.motion.device)

    def _speaker_rows(self, speaker: Tensor) -> Tensor:
        """Rows of the embedding; a network of one speaker has one for whoever speaks, as published."""
        count = self.model.config.num_speakers
        if count == 1:
            return torch.zeros_like(speaker)
        if int(speaker.max()) > count:
            raise ValueError(f"`model.num_speakers` must cover the data's speakers; got {count} for {speaker.max()}.")
        return speaker - 1


class _Camn(_UpperBody):
    def __init__(self, config: CamnTask):
        super().__init__(config)
        self.model = CamnModel(config.model)
        if config.start_at_mean:
            body_dim = config.model.body_dim
            say_mean(self.model.body_out.contract, self.mean[:body_dim])
            say_mean(self.model.hands_out.contract, self.mean[body_dim:])

    def losses(self, model: nn.Module, batch: _Batch, clock: Clock) -> Terms:
        assert isinstance(model, CamnModel)
        seeded = self._seeded(batch, clock)
        return terms(camn_losses(model, batch.motion, batch.waveform, batch.speaker, seeded=seeded))


class _Disco(_UpperBody):
    def __init__(self, config: DiscoTask):
        super().__init__(config)
        self.model = DiscoModel(config.model)
        if config.start_at_mean:
            say_mean(self.model.motion_out.contract, self.mean)
        name = f"labels-{config.num_labels}-{config.data.fingerprint()}.safetensors"
        path = Path(config.data.prepared) / "disco" / name
        main_process_first(lambda: None if path.exists() else self._make_labels(path, config.num_labels))
        found = load_tensors(path)
        self.labels = torch.stack([found["content"], found["rhythm"]], dim=-1)
        self.item_weights = balancing_weights(self.labels[: self.num_items, 0])

    def losses(self, model: nn.Module, batch: _Batch, clock: Clock) -> Terms:
        assert isinstance(model, DiscoModel)
        content, rhythm = batch.labels.unbind(-1)
        seeded, inputs = self._seeded(batch, clock), (batch.motion, batch.waveform, batch.speaker)
        return terms(disco_losses(model, *inputs, content=content, rhythm=rhythm, seeded=seeded))

    def _make_labels(self, path: Path, num_labels: int) -> None:
        """Write the labels of all windows; held-out ones go to the nearest cluster of the others."""
        poses = torch.cat([self._poses(range(self.num_items)), self._poses(range(self.num_items, len(self.labels)))])
        found = {
            name: label(poses, num_clusters=num_labels, generator=seeded(0), num_fitted=self.num_items)
            for name, label in (("content", content_labels), ("rhythm", rhythm_labels))
        }
        save_tensors(found, path)

    def _poses(self, items: range) -> Tensor:
        """What labels are made of, ``(len(items), T, 21, 3)``."""
        starts = range(0, len(items), _AT_ONCE)
        pieces = (local_axis_angle(self.data.batch(items[at : at + _AT_ONCE])) for at in starts)
        found = [piece[:, :, :LABELLED_JOINTS].clone() for piece in pieces]
        return torch.cat(found) if found else torch.zeros(0)


def _check(motion_dim: int, unseeded_share: float) -> None:
    if motion_dim != _MOTION_DIM:
        raise ValueError(f"the model's channels of motion must be {_MOTION_DIM}, of 43 joints; got {motion_dim}.")
    if not 0 <= unseeded_share <= 1:
        raise ValueError(f"`unseeded_share` must lie in [0, 1]; got {unseeded_share}.")


def _mean_degrees(said: Tensor, truth: Tensor) -> Tensor:
    """The mean angle between rotations ``(B, F, 258)``."""
    first, second = (rot6d_to_matrix(x.reshape(*x.shape[:2], -1, 6)) for x in (said, truth))
    return geodesic_distance(first, second).mean().rad2deg()
