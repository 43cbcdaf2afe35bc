"""The training of the autoencoders behind DiffSHEG's Fréchet distances."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech.hub import save_model, save_tensors
from cospeech.models import GestureAutoencoder, GestureAutoencoderConfig
from cospeech.rotations import axis_angle_to_matrix, geodesic_distance
from cospeech.training.gesture_autoencoders import gesture_autoencoder_losses
from cospeech.training.task import Clock, Terms, TrainingTask, terms
from cospeech.training.tasks.diffsheg_channels import Form, WindowChannels
from cospeech.training.tasks.windows import WindowData

__all__ = ["GestureEmbeddingTask"]

_GESTURE_DIMS: dict[Form, int] = {"beat": 141, "show": 129}
_DIMS: dict[int, tuple[Form, slice]] = {
    192: ("beat", slice(None)),
    141: ("beat", slice(0, 141)),
    51: ("beat", slice(141, None)),
    232: ("show", slice(None)),
    129: ("show", slice(0, 129)),
    103: ("show", slice(129, None)),
}


@dataclass(frozen=True, kw_only=True)
class GestureEmbeddingTask:
    """The autoencoder of windows, whose width says which: all channels, the gesture's or the face's.

    Attributes:
        data: Windows as long as the model's.
        model: Sizes. ``motion_dim`` of 192, 141 or 51 is BEAT, of 232, 129 or 103 SHOW.
        statistics: See ``DiffSHEGTask``; use those of the generator that is to be judged.
        least_deviation: See there.
    """

    data: WindowData
    model: GestureAutoencoderConfig = field(default_factory=GestureAutoencoderConfig)
    statistics: str = ""
    least_deviation: float = 1e-3

    def __post_init__(self) -> None:
        if self.model.motion_dim not in _DIMS:
            known = ", ".join(map(str, _DIMS))
            raise ValueError(f"`model.motion_dim` must be one of {known}; got {self.model.motion_dim}.")
        if self.model.num_frames != self.data.cut.window_frames:
            raise ValueError(
                f"`model.num_frames` must be data.cut.window_frames, {self.data.cut.window_frames}; "
                f"got {self.model.num_frames}."
            )

    def build(self) -> TrainingTask:
        """The task, its windows prepared where missing."""
        return _GestureEmbedding(self)

    def rehearsal(self, folder: Path) -> GestureEmbeddingTask:
        """The same on a procedural clip."""
        form, _ = _DIMS[self.model.motion_dim]
        data = self.data.rehearsal(folder, retarget="beat" if form == "beat" else "")
        return dataclasses.replace(self, data=data, statistics="")


class _GestureEmbedding(TrainingTask):
    def __init__(self, config: GestureEmbeddingTask):
        self.form, self.part = _DIMS[config.model.motion_dim]
        self.data = config.data.open()
        self.num_items, self.num_held_out = self.data.num_items, self.data.num_held_out
        self.shard_sizes = self.data.shard_sizes
        self.model = GestureAutoencoder(config.model)
        self.channels = WindowChannels(
            config.data,
            self.data,
            self.form,
            statistics=config.statistics,
            least_deviation=config.least_deviation,
        )

    def batch(self, items: Sequence[int], generator: torch.Generator) -> Tensor:
        """Normalised windows, ``(B, T, C)``."""
        return self.channels(self.data.batch(items))[..., self.part]

    def losses(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        assert isinstance(model, GestureAutoencoder)
        return terms(gesture_autoencoder_losses(model, batch))

    def measure(self, model: nn.Module, batch: Tensor, clock: Clock) -> Terms:
        """The losses; of gestures also the angle between what comes back and what went in, and that of the mean."""
        found = dict(self.losses(model, batch, clock))
        if self.part.start:  # the face alone
            return found
        target = self._rotations(batch)
        said = {"error_degrees": model(batch), "mean_pose_degrees": torch.zeros_like(batch)}
        angles = {name: geodesic_distance(self._rotations(x), target).mean() for name, x in said.items()}
        return found | {name: torch.rad2deg(angle) for name, angle in angles.items()}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """The network, and the statistics of its channels, by the names that an evaluation asks for."""
        save_model(self.model, folder)
        used = self.channels.representation
        names = {"motion": slice(None)}
        if self.form == "beat":
            names |= {"axis_angle": slice(0, _GESTURE_DIMS["beat"]), "face": slice(_GESTURE_DIMS["beat"], None)}
        found = {f"{name}_mean": used.mean[part] for name, part in names.items()}
        found |= {f"{name}_std": used.std[part] for name, part in names.items()}
        save_tensors({name: x.clone() for name, x in found.items()}, Path(folder) / "statistics.safetensors")

    def _rotations(self, windows: Tensor) -> Tensor:
        """Rotation matrices of the gesture's joints, ``(B, T, J, 3, 3)``."""
        used, gesture = self.channels.representation, slice(0, _GESTURE_DIMS[self.form])
        mean, std = (x[gesture].to(windows) for x in (used.mean, used.std))
        axis_angle = mean + std * windows[..., gesture]
        return axis_angle_to_matrix(axis_angle.reshape(*axis_angle.shape[:-1], -1, 3))
