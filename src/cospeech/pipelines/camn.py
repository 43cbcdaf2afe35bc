"""CaMN and DisCo end to end: speech to the upper body and both hands.

A clip is one forward pass of recurrent networks that read it in both directions, so a stream comes in one piece, after
the last sample. The networks' frames lie 1080 samples apart. The published program plays them at 15 Hz, which puts 64 s
of speech 0.7 s out of step; here each frame is shown when it was heard. ``strict_upstream`` gives the published frames.
Legs, face and root hold still.

Reference:
    Liu et al., "BEAT: A Large-Scale Semantic and Emotional Multi-Modal Dataset for Conversational Gestures Synthesis",
    ECCV 2022; Liu et al., "DisCo: Disentangled Implicit Content and Rhythm Learning for Diverse Co-Speech Gestures
    Synthesis", ACM MM 2022; in their audio-only forms for BEAT2.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.audio import AudioSource, samples_to_frames_covering
from cospeech.hub import CONFIG_FILE, config_from_dict, load_model, load_published, read_json, resolve, save_model
from cospeech.hub.convert.camn import (
    camn_from_published,
    camn_to_published,
    camn_to_published_config,
    disco_from_published,
    disco_to_published,
    disco_to_published_config,
)
from cospeech.hub.published import naming_part, published_weights, resolve_published, save_published
from cospeech.models import CamnModel, DiscoModel
from cospeech.models.camn import WAVE_STRIDES
from cospeech.motion import Motion
from cospeech.nn import fold_wave_encoders, optimize
from cospeech.nn.optimization import Precision
from cospeech.pipelines.arguments import one_each
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect
from cospeech.representations import LOCAL_UPPER_JOINTS, emage_matrix_to_axis_angle, scatter_joints, upsample_linear
from cospeech.rotations import axis_angle_to_rot6d, rot6d_to_matrix
from cospeech.skeleton import SMPLX

__all__ = ["CAMN_REPOSITORY", "DISCO_REPOSITORY", "UpperBodyPipeline"]

CAMN_REPOSITORY = "H-Liu1997/camn_audio"
DISCO_REPOSITORY = "H-Liu1997/disco_audio"
"""Where the published weights lie on the Hugging Face Hub."""

_AUDIO_RATE_HZ, _NETWORK_RATE_HZ, _RATE_HZ = 16000, 15.0, 30.0
_HEARD_RATE_HZ = _AUDIO_RATE_HZ / math.prod(WAVE_STRIDES)
_FEET = [SMPLX.index("left_foot"), SMPLX.index("right_foot")]


@dataclass(frozen=True, kw_only=True)
class UpperBodySettings:
    """What a saved pipeline keeps besides its network.

    Attributes:
        system: "camn" or "disco".
    """

    system: str


class UpperBodyPipeline(Pipeline):
    """Speech to gestures with CaMN or DisCo.

    Args:
        model: The network. What it has learned by now counts: after more training, make another pipeline.
    """

    def __init__(self, model: CamnModel | DiscoModel):
        self.model = model.eval()
        self._running = fold_wave_encoders(model)
        self.rate_hz = _RATE_HZ
        self.num_speakers = model.config.num_speakers
        self._optimized = False

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, device: torch.device | str = "cpu"
    ) -> Self:
        """The pipeline in a folder or on the Hub, in our format or as ``CAMN_REPOSITORY`` and ``DISCO_REPOSITORY`` are.

        Raises:
            ModelNotFoundError: If nothing has that name, or the Hub cannot be reached.
            CheckpointError: If what is there does not fit; every key at fault is listed.
        """
        folder = resolve(name_or_path, revision=revision)
        if (folder / INDEX_FILE).is_file():
            fields = read_index(folder, cls)
            settings = config_from_dict(UpperBodySettings, fields, source=str(folder / INDEX_FILE))
            if settings.system == "disco":
                return cls(load_model(DiscoModel, folder / "model").to(device))
            return cls(load_model(CamnModel, folder / "model").to(device))
        folder = resolve_published(name_or_path, revision=revision)
        path = published_weights(folder)
        seed_frames = read_json(folder / CONFIG_FILE).get("seed_frames", 4)
        with naming_part(path):
            state = load_published(path)
            if any(key.startswith("selector.") for key in state):
                return cls(disco_from_published(state, seed_frames=seed_frames).to(device))
            return cls(camn_from_published(state, seed_frames=seed_frames).to(device))

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write the network to a folder that ``from_pretrained`` reads.

        Args:
            folder: Where to; made if missing.
            dtype: To store weights in; they are float32 again when read.

        Raises:
            TypeError: If the pipeline is an optimized one.
            CheckpointError: If the folder cannot be written.
        """
        self._refuse_optimized()
        folder = Path(folder)
        save_model(self.model, folder / "model", dtype=dtype)
        write_index(folder, type(self), {"system": "camn" if isinstance(self.model, CamnModel) else "disco"})

    def save_published(self, folder: str | os.PathLike[str], *, safetensors: bool = False) -> None:
        """Write a folder that the published program reads.

        Args:
            folder: Where to; made if missing.
            safetensors: Whether to write ``model.safetensors`` instead of ``pytorch_model.bin``.

        Raises:
            TypeError: If the pipeline is an optimized one.
            CheckpointError: If the folder cannot be written.
        """
        self._refuse_optimized()
        if isinstance(self.model, CamnModel):
            state, config = camn_to_published(self.model), camn_to_published_config(self.model.config)
        else:
            state, config = disco_to_published(self.model), disco_to_published_config(self.model.config)
        save_published(state, config, Path(folder), safetensors=safetensors)

    def __call__(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
        beginning: Motion | None = None,
        strict_upstream: bool = False,
    ) -> Motion:
        """Motion for a clip of speech; see ``Pipeline.__call__``.

        Args:
            audio: As there.
            speaker: As there.
            seed: As there; nothing is random here, so every seed gives the same.
            source_rate_hz: As there.
            progress: As there.
            callback: As there.
            beginning: How the motion begins: the network looks at the first ``seed_frames`` frames at 15 Hz (4, a
                quarter of a second).
            strict_upstream: Whether to give the published program's frames.

        Raises:
            AudioError: As there.
            ValueError: If there is no such speaker, or the beginning is too short or has other joints.
        """
        return self.batch(
            [audio],
            speakers=[speaker],
            seeds=[seed],
            source_rate_hz=source_rate_hz,
            progress=progress,
            callback=callback,
            beginnings=[beginning],
            strict_upstream=strict_upstream,
        )[0]

    def batch(
        self,
        audios: Sequence[AudioSource],
        *,
        speakers: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
        beginnings: Sequence[Motion | None] | None = None,
        strict_upstream: bool = False,
    ) -> list[Motion]:
        """See ``Pipeline.batch``; clips run one after the other, since each is one pass of its own length."""
        beginnings = one_each("beginnings", beginnings, len(audios), default=None)
        known = [None if motion is None else self._seed_channels(motion) for motion in beginnings]
        requests = self._requests(audios, _AUDIO_RATE_HZ, speakers=speakers, seeds=seeds, source_rate_hz=source_rate_hz)

        def generate() -> Iterator[tuple[int, Motion]]:
            for number, (request, start) in enumerate(zip(requests, known, strict=True)):
                frames = self._frames(torch.cat(list(request.blocks())), request.speaker, start)
                covering = _covering(request.num_samples)
                yield number, _published_motion(frames) if strict_upstream else _motion(frames, covering)

        num_frames = sum(_covering(request.num_samples) for request in requests)
        return collect(generate(), len(requests), num_frames, progress=progress, callback=callback)

    def stream(
        self,
        audio: AudioSource,
        *,
        speaker: int = 1,
        seed: int = 0,
        source_rate_hz: float | None = None,
        beginning: Motion | None = None,
        strict_upstream: bool = False,
    ) -> Iterator[Motion]:
        """One piece, after the end of the audio: the network reads a clip in both directions."""
        self.check_speaker(speaker)
        return self._stream(audio, speaker, source_rate_hz, beginning, strict_upstream)

    def to(self, device: torch.device | str) -> Self:
        """See ``Pipeline.to``; of an optimized pipeline the plain network is moved."""
        return type(self)(copy.deepcopy(self.model).to(device))

    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """See ``Pipeline.optimize``; the recurrent layers, which take most of the time, stay as they are."""
        self._refuse_optimized()
        other = copy.copy(self)
        other._running = optimize(self._running, precision=precision, rows=150, compiled=compiled)
        other._optimized = True
        return other

    def _stream(
        self,
        audio: AudioSource,
        speaker: int,
        source_rate_hz: float | None,
        beginning: Motion | None,
        strict_upstream: bool,
    ) -> Iterator[Motion]:
        yield self(
            audio,
            speaker=speaker,
            source_rate_hz=source_rate_hz,
            progress=False,
            beginning=beginning,
            strict_upstream=strict_upstream,
        )

    def _refuse_optimized(self) -> None:
        if self._optimized:
            raise TypeError("This pipeline is optimized; save or optimize the one that it was made from.")

    def _seed_channels(self, motion: Motion) -> Tensor:
        """The network's first frames, ``(1, seed_frames, 258)``."""
        count = self.model.config.seed_frames
        if motion.skeleton.parents != SMPLX.parents:
            raise ValueError(
                f"`beginning` must have the {SMPLX.num_joints} joints of SMPL-X; got {motion.skeleton.num_joints}, "
                "or another tree."
            )
        axis_angle = motion.resample(_NETWORK_RATE_HZ).local_axis_angle[:count, list(LOCAL_UPPER_JOINTS)]
        if len(axis_angle) < count or not bool(torch.isfinite(axis_angle).all()):
            raise ValueError(f"`beginning` must hold {count} finite frames at 15 Hz; got {len(axis_angle)}.")
        return axis_angle_to_rot6d(axis_angle).flatten(1)[None].to(self.model.speaker.weight)

    @torch.no_grad()
    def _frames(self, waveform: Tensor, speaker: int, start: Tensor | None) -> Tensor:
        """Axis-angles of all joints in the network's frames, ``(F, J, 3)``."""
        like = self.model.speaker.weight
        output = self._running(waveform[None].to(like), torch.tensor([speaker - 1], device=like.device), start)
        rot6d: Tensor = output if isinstance(output, Tensor) else output.motion
        rotations = rot6d_to_matrix(rot6d[0].reshape(rot6d.shape[1], -1, 6))
        return scatter_joints(emage_matrix_to_axis_angle(rotations))


def _covering(num_samples: int) -> int:
    return max(1, samples_to_frames_covering(num_samples, rate_hz=_AUDIO_RATE_HZ, frame_rate_hz=_RATE_HZ))


def _motion(frames: Tensor, num_frames: int) -> Motion:
    """Frames shown when they were heard, the last one held to the end."""
    moving = _standing(frames, _HEARD_RATE_HZ).resample(_RATE_HZ)[:num_frames]
    missing = num_frames - moving.num_frames
    if missing <= 0:
        return moving
    last = moving[-1:].local_axis_angle.expand(missing, -1, -1)
    return Motion.concatenate([moving, _standing(last, _RATE_HZ)])


def _published_motion(frames: Tensor) -> Motion:
    """Twice as many frames, their numbers interpolated, at 30 Hz."""
    return _standing(upsample_linear(frames.double(), 2).to(frames), _RATE_HZ)


def _standing(axis_angle: Tensor, rate_hz: float) -> Motion:
    """Without face and steps; the rest pose's feet are where the ground is."""
    ground = -SMPLX.rest_joints[_FEET].mean(0).to(axis_angle)
    return Motion(
        local_axis_angle=axis_angle,
        translation=ground.repeat(len(axis_angle), 1),
        expressions=axis_angle.new_zeros(len(axis_angle), 100),
        rate_hz=rate_hz,
    )
