"""GlobalDiff end to end: speech features, expressions, then windows of motion, each seeded by the one before.

The published program starts from ground-truth frames, needs 3.73 s of audio and drops its tail. Here a clip starts
from the speaker's rest pose, may last 0.1 s or an hour, and is covered to its end. The published rules, for parity,
stand on the page ``globaldiff_published``.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech._checks import check_shape
from cospeech.audio import AudioSource, ProsodyConfig, ProsodyFeatures, SpeechEncoder, iter_audio
from cospeech.errors import CheckpointError
from cospeech.hub import (
    config_from_dict,
    config_to_dict,
    load_model,
    load_tensors,
    resolve,
    save_model,
    save_tensors,
)
from cospeech.models import GlobalDiffDenoiser, SpeechModel, StackedDenoiser, optimize_denoiser
from cospeech.motion import Motion
from cospeech.nn import optimize
from cospeech.nn.optimization import Precision
from cospeech.pipelines.globaldiff_windows import WindowInputs, WindowSampler, bind_denoiser, check_guidance
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect
from cospeech.pipelines.speech_windows import WindowClock
from cospeech.representations import GlobalRot6D
from cospeech.samplers import GlobalDiffSampler, WindowState, draw_noise

__all__ = ["GlobalDiffPipeline", "SpeechFeatures", "WindowInputs", "bind_denoiser"]

REST_POSES_FILE = "rest_poses.safetensors"
_LOOKAHEAD = 8  # windows of a clip whose features and expressions are computed together


class SpeechFeatures(Protocol):
    """Speech windows ``(B, S)`` to features ``(B, T, feature_dim)``, as ``cospeech.audio.ProsodyFeatures``."""

    rate_hz: float
    frame_rate_hz: float
    feature_dim: int

    def __call__(self, waveform: Tensor, /) -> Tensor:
        """The features of windows."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same on another device."""


class HeardWindow(NamedTuple):
    """What the speech of one window of a clip tells, ``(T, C)`` and ``(T, E)``; the rest as in ``SpeechWindow``."""

    features: Tensor
    expressions: Tensor
    num_frames: int
    is_last: bool


class Clip(NamedTuple):
    """A clip on its way: what is still to come of its speech, who speaks, where its noise comes from."""

    windows: Iterator[HeardWindow]
    speaker: int
    generator: torch.Generator


@dataclass(frozen=True, kw_only=True)
class GlobalDiffSettings:
    """What a saved pipeline keeps besides its networks and rest poses.

    Attributes:
        prosody: The features that the networks were trained on, where it is these.
        speech_encoder: Else the network of Transformers whose features they are, by name.
        window_frames: Frames of a window.
        sampler: Settings of the sampler.
        guidance_scale: See ``GlobalDiffPipeline``.
    """

    prosody: ProsodyConfig | None = None
    speech_encoder: str | None = None
    window_frames: int = 60
    sampler: GlobalDiffSampler = field(default_factory=GlobalDiffSampler)
    guidance_scale: float = 1.0


class GlobalDiffPipeline(Pipeline):
    """Speech to motion with GlobalDiff's networks, at the published or any other size.

    Args:
        denoiser: The two-stream denoiser.
        speech_model: Features to facial expressions.
        features: What the networks hear.
        rest_poses: The motion that each speaker starts from, ``(num_speakers, overlap, 6 J + 3)``, in the channels of
            ``GlobalRot6D``.
        window_frames: Frames of a window.
        sampler: Settings of the sampler.
        guidance_scale: 1 is the denoiser as it is; above 1 exaggerates what the speaker's identity changes, at twice
            the work. The denoiser must have been trained with dropped speakers, as the published training does.

    Raises:
        ValueError: If the parts do not fit each other, or ``guidance_scale`` is not a scale.
    """

    def __init__(
        self,
        denoiser: GlobalDiffDenoiser | StackedDenoiser,
        speech_model: SpeechModel,
        features: SpeechFeatures,
        *,
        rest_poses: Tensor,
        window_frames: int = 60,
        sampler: GlobalDiffSampler | None = None,
        guidance_scale: float = 1.0,
    ):
        self.guidance_scale = check_guidance(guidance_scale)
        self.sampler = sampler = sampler or GlobalDiffSampler()
        self.num_speakers = denoiser.config.num_speakers - 1  # the networks' number 0 stands for nobody
        check_shape(
            "rest_poses", rest_poses, f"{self.num_speakers} {sampler.overlap_frames} {denoiser.config.motion_dim}"
        )
        widths = {denoiser.config.feature_dim, speech_model.config.feature_dim, features.feature_dim}
        if len(widths) > 1:
            raise ValueError(f"Features and networks must agree on `feature_dim`; got {sorted(widths)}.")
        self.denoiser, self.speech_model, self.features = denoiser.eval(), speech_model.eval(), features
        self.rest_poses = rest_poses
        self.rate_hz = float(features.frame_rate_hz)
        self.clock = WindowClock(features.rate_hz, self.rate_hz, window_frames, sampler.overlap_frames)
        self.representation = GlobalRot6D(num_expressions=denoiser.config.expression_dim, rate_hz=self.rate_hz)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, device: torch.device | str = "cpu"
    ) -> Self:
        """The pipeline that ``save_pretrained`` wrote; see ``cospeech.load_pipeline``."""
        folder = resolve(name_or_path, revision=revision)
        settings = config_from_dict(GlobalDiffSettings, read_index(folder, cls), source=str(folder / INDEX_FILE))
        rest_poses = load_tensors(folder / REST_POSES_FILE)
        if rest_poses.keys() != {"rest_poses"}:
            raise CheckpointError(f"{folder / REST_POSES_FILE} must hold `rest_poses`; got {', '.join(rest_poses)}.")
        features: ProsodyFeatures | SpeechEncoder
        if settings.prosody is not None:
            features = ProsodyFeatures(settings.prosody)
        elif settings.speech_encoder is not None:
            features = SpeechEncoder.load(settings.speech_encoder)
        else:
            raise CheckpointError(f"{folder / INDEX_FILE} must name prosody or speech_encoder.")
        return cls(
            load_model(GlobalDiffDenoiser, folder / "denoiser").to(device),
            load_model(SpeechModel, folder / "speech_model").to(device),
            features.to(device),
            rest_poses=rest_poses["rest_poses"].to(device),
            window_frames=settings.window_frames,
            sampler=settings.sampler,
            guidance_scale=settings.guidance_scale,
        )

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write networks, rest poses and settings to a folder that ``from_pretrained`` reads.

        Args:
            folder: Where to; made if missing.
            dtype: To store weights in, ``torch.float16`` for half the size; they are float32 again when read.

        Raises:
            TypeError: If the pipeline is an optimized one, or its features are neither ``ProsodyFeatures`` nor a
                ``SpeechEncoder`` loaded by name.
            CheckpointError: If the folder cannot be written.
        """
        prosody = self.features.config if isinstance(self.features, ProsodyFeatures) else None
        encoder = self.features.name if isinstance(self.features, SpeechEncoder) else None
        if prosody is None and encoder is None:
            raise TypeError(
                "Only ProsodyFeatures, or a SpeechEncoder loaded by name, can be saved; got "
                f"{type(self.features).__name__}."
            )
        if not isinstance(self.denoiser, GlobalDiffDenoiser):
            raise TypeError("An optimized pipeline cannot be saved; save the one that it was made from.")
        settings = GlobalDiffSettings(
            prosody=prosody,
            speech_encoder=encoder,
            window_frames=self.clock.window_frames,
            sampler=self.sampler,
            guidance_scale=self.guidance_scale,
        )
        save_globaldiff(folder, self.denoiser, self.speech_model, self.rest_poses, settings, dtype=dtype)

    def batch(
        self,
        audios: Sequence[AudioSource],
        *,
        speakers: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        source_rate_hz: float | None = None,
        progress: bool | None = None,
        callback: ProgressCallback | None = None,
    ) -> list[Motion]:
        """See ``Pipeline.batch``."""
        requests = self._requests(
            audios, self.clock.rate_hz, speakers=speakers, seeds=seeds, source_rate_hz=source_rate_hz
        )
        clips = [self._clip(request.blocks(), request.speaker, request.seed, _LOOKAHEAD) for request in requests]
        num_frames = sum(self.clock.num_frames(request.num_samples) for request in requests)
        return collect(self._run(clips), len(clips), num_frames, progress=progress, callback=callback)

    def stream(
        self, audio: AudioSource, *, speaker: int = 1, seed: int = 0, source_rate_hz: float | None = None
    ) -> Iterator[Motion]:
        """See ``Pipeline.stream``."""
        self.check_speaker(speaker)
        blocks = iter_audio(audio, self.clock.rate_hz, block_seconds=0.5, source_rate_hz=source_rate_hz)
        return (piece for _, piece in self._run([self._clip(blocks, speaker, seed, lookahead=1)]))

    def to(self, device: torch.device | str) -> Self:
        """See ``Pipeline.to``."""
        # Copies, since a module's own `to` moves it: this pipeline stays where it is.
        denoiser, speech_model, features = copy.deepcopy((self.denoiser, self.speech_model, self.features))
        return self._with(denoiser.to(device), speech_model.to(device), features.to(device), self.rest_poses.to(device))

    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """See ``Pipeline.optimize``."""
        rows = self.clock.window_frames
        if not isinstance(self.denoiser, GlobalDiffDenoiser):
            raise TypeError("This pipeline is optimized already; optimize the one that it was made from.")
        denoiser = optimize_denoiser(self.denoiser, precision=precision, num_frames=rows, compiled=compiled)
        speech_model = optimize(self.speech_model, precision=precision, rows=_LOOKAHEAD * rows, compiled=compiled)
        return self._with(denoiser, speech_model, self.features, self.rest_poses)

    def with_sampler(self, sampler: GlobalDiffSampler) -> Self:
        """This pipeline with other settings of the sampler, such as FOPPAS for its windows."""
        return self._with(self.denoiser, self.speech_model, self.features, self.rest_poses, sampler)

    def _with(
        self,
        denoiser: GlobalDiffDenoiser | StackedDenoiser,
        speech_model: SpeechModel,
        features: SpeechFeatures,
        rest_poses: Tensor,
        sampler: GlobalDiffSampler | None = None,
    ) -> Self:
        return type(self)(
            denoiser,
            speech_model,
            features,
            rest_poses=rest_poses,
            window_frames=self.clock.window_frames,
            sampler=sampler or self.sampler,
            guidance_scale=self.guidance_scale,
        )

    def _clip(self, blocks: Iterable[Tensor], speaker: int, seed: int, lookahead: int) -> Clip:
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
        return Clip(self._hear(blocks, speaker, lookahead), speaker, generator)

    @torch.no_grad()
    def _hear(self, blocks: Iterable[Tensor], speaker: int, lookahead: int) -> Iterator[HeardWindow]:
        """Features and expressions of a clip's windows, several windows at once: they do not depend on each other."""
        windows = self.clock.windows(blocks)
        while group := list(islice(windows, lookahead)):
            device = self.rest_poses.device
            features = self.features(torch.stack([window.samples for window in group]).to(device))
            expressions = self.speech_model(features, torch.full((len(group),), speaker, device=device))
            for window, heard, seen in zip(group, features, expressions, strict=True):
                yield HeardWindow(heard, seen, window.num_frames, window.is_last)

    @torch.no_grad()
    def _run(self, clips: Sequence[Clip]) -> Iterator[tuple[int, Motion]]:
        """Sample the clips side by side, window by window; yield the number of a clip and its next frames.

        A clip that has come to its end leaves the batch, so short clips do not cost what the longest costs.
        """
        windows = self.sampler.windows(WindowSampler(self.denoiser, self.sampler, self.guidance_scale))
        active = list(range(len(clips)))
        state = windows.init_state(self.rest_poses[[clip.speaker - 1 for clip in clips]])
        while active:
            heard = [next(clips[number].windows) for number in active]
            frames, state = windows.step(self._inputs([clips[number] for number in active], heard), state)
            whole = torch.cat([frames, windows.flush(state)], dim=1)
            for row, (number, window) in enumerate(zip(active, heard, strict=True)):
                piece = whole[row, : window.num_frames] if window.is_last else frames[row]
                yield number, self.representation.decode(piece)
            going_on = [row for row, window in enumerate(heard) if not window.is_last]
            active = [active[row] for row in going_on]
            state = WindowState(state.tail[going_on], held=True)

    def _inputs(self, clips: Sequence[Clip], heard: Sequence[HeardWindow]) -> WindowInputs:
        shape = (len(clips), self.clock.window_frames, self.denoiser.config.motion_dim)
        poses = self.rest_poses
        return WindowInputs(
            noise=draw_noise(shape, [clip.generator for clip in clips], dtype=poses.dtype, device=poses.device),
            features=torch.stack([window.features for window in heard]),
            expressions=torch.stack([window.expressions for window in heard]),
            speakers=torch.tensor([clip.speaker for clip in clips], device=poses.device),
            generators=tuple(clip.generator for clip in clips),
        )


def save_globaldiff(
    folder: str | os.PathLike[str],
    denoiser: GlobalDiffDenoiser,
    speech_model: SpeechModel,
    rest_poses: Tensor,
    settings: GlobalDiffSettings,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a pipeline from its parts; what hears need not be at hand. See ``GlobalDiffPipeline.save_pretrained``."""
    folder = Path(folder)
    save_model(denoiser, folder / "denoiser", dtype=dtype)
    save_model(speech_model, folder / "speech_model", dtype=dtype)
    save_tensors({"rest_poses": rest_poses}, folder / REST_POSES_FILE)
    # Last: a folder without its index is no pipeline, so a half-written one is never taken for whole.
    write_index(folder, GlobalDiffPipeline, config_to_dict(settings))
