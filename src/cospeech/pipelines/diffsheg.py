"""DiffSHEG end to end: speech features, then windows of gesture and expression, each painted on from the one before.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from cospeech.audio import AudioSource, ProsodyConfig, ProsodyFeatures, iter_audio
from cospeech.audio.diffsheg import HubertTrack
from cospeech.errors import CheckpointError
from cospeech.hub import (
    config_from_dict,
    config_to_dict,
    load_model,
    load_published,
    load_tensors,
    resolve,
    save_model,
    save_tensors,
)
from cospeech.hub.convert.diffsheg import diffsheg_from_published
from cospeech.models import BufferedDiffSHEG, DiffSHEGDenoiser, optimize_diffsheg
from cospeech.motion import Motion
from cospeech.nn.optimization import Precision
from cospeech.pipelines.diffsheg_speech import DiffSHEGHearing, ProsodyTrack, SpeechTrack
from cospeech.pipelines.diffsheg_windows import Clip, DiffSHEGSampling, WindowSampler
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect
from cospeech.pipelines.speech_windows import WindowClock
from cospeech.representations import DiffSHEGBeat, DiffSHEGRepresentation, DiffSHEGShow
from cospeech.samplers import Foppas

__all__ = ["DiffSHEGPipeline"]

STATISTICS_FILE = "statistics.safetensors"

_REPRESENTATIONS: dict[str, type[DiffSHEGRepresentation]] = {"beat": DiffSHEGBeat, "show": DiffSHEGShow}
_RATE_HZ = 16_000.0
_PUBLISHED_RATE_HZ = 22_050.0  # at which the published script reads a file, to call it 16 kHz afterwards
_PUBLISHED_FRAME_RATE_HZ = 15.0  # of its mel frames, for SHOW too, whose networks were trained at 30


@dataclass(frozen=True, kw_only=True)
class DiffSHEGSettings:
    """What a saved pipeline keeps besides its network and statistics.

    Attributes:
        kind: "beat" or "show".
        rate_hz: Frames per second.
        prosody: The features that the network was trained on, where it is these.
        hubert: Else the network of Transformers, by name.
        hearing: See the pipeline.
        sampling: How windows are sampled.
    """

    kind: Literal["beat", "show"] = "beat"
    rate_hz: float = 15.0
    prosody: ProsodyConfig | None = None
    hubert: str | None = None
    hearing: Literal["window", "clip"] = "window"
    sampling: DiffSHEGSampling = field(default_factory=DiffSHEGSampling)


class DiffSHEGPipeline(Pipeline):
    """Speech to motion with DiffSHEG's network, at the published or any other size.

    Args:
        denoiser: The network.
        representation: Its features and their statistics.
        speech: What it hears besides mel bands.
        sampling: How windows are sampled.
        hearing: "window": each window of speech on its own, as in training; "clip": the whole recording at once, as in
            the published script, whose stream begins when all is heard.
        strict_upstream: Do as the published script does, slips included: audio is read at 22,050 Hz and given to HuBERT
            as if it were 16 kHz; there are 15 frames a second for SHOW too; the whole clip is heard at once.

    Raises:
        ValueError: If the parts do not fit each other.
    """

    def __init__(
        self,
        denoiser: DiffSHEGDenoiser | BufferedDiffSHEG,
        representation: DiffSHEGRepresentation,
        speech: SpeechTrack,
        *,
        sampling: DiffSHEGSampling | None = None,
        hearing: Literal["window", "clip"] = "window",
        strict_upstream: bool = False,
    ):
        config = denoiser.config
        self.sampling = sampling = sampling or DiffSHEGSampling()
        if representation.layout.dim != config.motion_dim:
            raise ValueError(
                f"`representation` must have the denoiser's {config.motion_dim} channels; "
                f"got {representation.layout.dim}."
            )
        if speech.feature_dim != config.speech_feature_dim:
            raise ValueError(
                f"`speech` must give the denoiser's {config.speech_feature_dim} features; got {speech.feature_dim}."
            )
        if hearing not in ("window", "clip"):
            raise ValueError(f"Unknown hearing {hearing!r}; choose from window, clip.")
        if not 0 <= sampling.overlap_frames < sampling.window_frames:
            raise ValueError(
                f"`overlap_frames` must be from 0 to {sampling.window_frames - 1}; got {sampling.overlap_frames}."
            )
        self.denoiser, self.representation, self.speech = denoiser.eval(), representation, speech
        self.hearing: Literal["window", "clip"] = "clip" if strict_upstream else hearing
        self.strict_upstream = strict_upstream
        self.num_speakers = config.num_speakers
        self.rate_hz = _PUBLISHED_FRAME_RATE_HZ if strict_upstream else representation.rate_hz
        rate_hz = _PUBLISHED_RATE_HZ if strict_upstream else _RATE_HZ
        self.clock = WindowClock(rate_hz, self.rate_hz, sampling.window_frames, sampling.overlap_frames)

    @classmethod
    def from_published(
        cls,
        checkpoint: str | os.PathLike[str],
        statistics: Mapping[str, Tensor],
        speech: SpeechTrack,
        *,
        hearing: Literal["window", "clip"] = "window",
        strict_upstream: bool = False,
    ) -> Self:
        """The pipeline of a published checkpoint.

        Args:
            checkpoint: ``fgd_best.tar`` (BEAT) or ``ckpt_e2599.tar`` (SHOW); which it is shows in its sizes.
            statistics: The published means and deviations that belong to it, see ``DiffSHEGBeat`` and
                ``DiffSHEGShow``.
            speech: ``HubertTrack.load()``, or another network with as many features.
            hearing: See the class.
            strict_upstream: See the class.

        Raises:
            CheckpointError: If the file cannot be read, or the weights do not fit.
            ValueError: If the statistics are others.
        """
        denoiser = diffsheg_from_published(load_published(checkpoint))
        if denoiser.config.unconditional:
            show = DiffSHEGShow.from_published(statistics)
            return cls(
                denoiser,
                show,
                speech,
                sampling=DiffSHEGSampling.show(),
                hearing=hearing,
                strict_upstream=strict_upstream,
            )
        beat = DiffSHEGBeat.from_published(statistics)
        return cls(denoiser, beat, speech, hearing=hearing, strict_upstream=strict_upstream)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, device: torch.device | str = "cpu"
    ) -> Self:
        """The pipeline that ``save_pretrained`` wrote; see ``cospeech.load_pipeline``."""
        folder = resolve(name_or_path, revision=revision)
        settings = config_from_dict(DiffSHEGSettings, read_index(folder, cls), source=str(folder / INDEX_FILE))
        statistics = load_tensors(folder / STATISTICS_FILE)
        if statistics.keys() != {"mean", "std"}:
            raise CheckpointError(f"{folder / STATISTICS_FILE} must hold `mean`, `std`; got {', '.join(statistics)}.")
        representation = _REPRESENTATIONS[settings.kind](**statistics, rate_hz=settings.rate_hz)
        speech: ProsodyTrack | HubertTrack
        if settings.prosody is not None:
            speech = ProsodyTrack(ProsodyFeatures(settings.prosody))
        elif settings.hubert is not None:
            speech = HubertTrack.load(settings.hubert)
        else:
            raise CheckpointError(f"{folder / INDEX_FILE} must name prosody or hubert.")
        return cls(
            load_model(DiffSHEGDenoiser, folder / "denoiser").to(device),
            representation,
            speech.to(device),
            sampling=settings.sampling,
            hearing=settings.hearing,
        )

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write network, statistics and settings to a folder that ``from_pretrained`` reads.

        Args:
            folder: Where to; made if missing.
            dtype: To store weights in, ``torch.float16`` for half the size; they are float32 again when read.

        Raises:
            TypeError: If the speech track is neither a ``ProsodyTrack`` nor a ``HubertTrack`` loaded by name, or the
                pipeline is an optimized one.
            CheckpointError: If the folder cannot be written.
        """
        prosody = self.speech.features.config if isinstance(self.speech, ProsodyTrack) else None
        hubert = self.speech.name if isinstance(self.speech, HubertTrack) else None
        if prosody is None and hubert is None:
            raise TypeError(
                f"Only a ProsodyTrack, or a HubertTrack loaded by name, can be saved; got {type(self.speech).__name__}."
            )
        if not isinstance(self.denoiser, DiffSHEGDenoiser):
            raise TypeError("An optimized pipeline cannot be saved; save the one that it was made from.")
        settings = DiffSHEGSettings(
            kind="beat" if isinstance(self.representation, DiffSHEGBeat) else "show",
            rate_hz=self.representation.rate_hz,
            prosody=prosody,
            hubert=hubert,
            hearing=self.hearing,
            sampling=self.sampling,
        )
        save_diffsheg(folder, self.denoiser, self.representation, settings, dtype=dtype)

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
        clips = [self._clip(request.blocks(), request.speaker, request.seed) for request in requests]
        num_frames = sum(self._hearing.num_frames(request.num_samples) for request in requests)
        return collect(self._run(clips), len(clips), num_frames, progress=progress, callback=callback)

    def stream(
        self, audio: AudioSource, *, speaker: int = 1, seed: int = 0, source_rate_hz: float | None = None
    ) -> Iterator[Motion]:
        """See ``Pipeline.stream``."""
        self.check_speaker(speaker)
        blocks = iter_audio(audio, self.clock.rate_hz, block_seconds=0.5, source_rate_hz=source_rate_hz)
        return (piece for _, piece in self._run([self._clip(blocks, speaker, seed)]))

    def to(self, device: torch.device | str) -> Self:
        """See ``Pipeline.to``."""
        # Copies, since a module's own `to` moves it: this pipeline stays where it is.
        denoiser, speech = copy.deepcopy((self.denoiser, self.speech))
        return self._with(denoiser.to(device), speech.to(device))

    def optimize(self, *, precision: Precision = "float32", compiled: bool = False) -> Self:
        """See ``Pipeline.optimize``."""
        if not isinstance(self.denoiser, DiffSHEGDenoiser):
            raise TypeError("This pipeline is optimized already; optimize the one that it was made from.")
        denoiser = optimize_diffsheg(
            self.denoiser,
            precision=precision,
            num_frames=self.sampling.window_frames,
            guidance_scale=self.sampling.guidance_scale,
            compiled=compiled,
        )
        return self._with(denoiser, self.speech)

    @cached_property
    def foppas(self) -> Foppas:
        """The sampler."""
        return self.sampling.foppas(self.denoiser.config.num_timesteps)

    def hear(self, waveform: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Mel frames ``(T, mel_dim)`` and speech features ``(T, C)`` of samples at ``clock.rate_hz``."""
        return self._hearing.hear(waveform, num_frames)

    @property
    def _hearing(self) -> DiffSHEGHearing:
        return DiffSHEGHearing(
            speech=self.speech, clock=self.clock, scope=self.hearing, strict_upstream=self.strict_upstream
        )

    def _with(self, denoiser: DiffSHEGDenoiser | BufferedDiffSHEG, speech: SpeechTrack) -> Self:
        return type(self)(
            denoiser,
            self.representation,
            speech,
            sampling=self.sampling,
            hearing=self.hearing,
            strict_upstream=self.strict_upstream,
        )

    def _clip(self, blocks: Iterable[Tensor], speaker: int, seed: int) -> Clip:
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
        return Clip(self._hearing.windows(blocks, self.denoiser.positions.device), speaker, generator)

    def _run(self, clips: Sequence[Clip]) -> Iterator[tuple[int, Motion]]:
        """The number of a clip and its next frames."""
        sampler = WindowSampler(self.denoiser, self.foppas, self.sampling)
        for number, frames in sampler.run(clips):
            yield number, replace(self.representation.decode(frames), rate_hz=self.rate_hz)


def save_diffsheg(
    folder: str | os.PathLike[str],
    denoiser: DiffSHEGDenoiser,
    representation: DiffSHEGRepresentation,
    settings: DiffSHEGSettings,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a pipeline from its parts; what hears need not be at hand. See ``DiffSHEGPipeline.save_pretrained``."""
    folder = Path(folder)
    save_model(denoiser, folder / "denoiser", dtype=dtype)
    save_tensors({"mean": representation.mean, "std": representation.std}, folder / STATISTICS_FILE)
    # Last: a folder without its index is no pipeline, so a half-written one is never taken for whole.
    write_index(folder, DiffSHEGPipeline, config_to_dict(settings))
