"""DiffSHEG end to end: speech features, then windows of gesture and expression, each painted on from the one before.

The published script hears a whole recording at once. So does ``hearing="clip"``; "window", the default, hears each
window on its own, which is how the networks were trained, and what can be streamed.

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
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from typing_extensions import Self

from cospeech.audio import AudioSource, ProsodyConfig, ProsodyFeatures, iter_audio, resample
from cospeech.audio.diffsheg import KAISER_BEST, HubertTrack, diffsheg_mel, stretch_frames
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
from cospeech.models import DiffSHEGDenoiser, DiffSHEGModulations
from cospeech.motion import Motion
from cospeech.nn import optimize
from cospeech.nn.optimization import Precision
from cospeech.pipelines.index import INDEX_FILE, read_index, write_index
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.progress import collect
from cospeech.pipelines.speech_windows import WindowClock
from cospeech.representations import DiffSHEGBeat, DiffSHEGRepresentation, DiffSHEGShow
from cospeech.samplers import (
    DrawKind,
    Foppas,
    OutpaintedWindows,
    OutpaintState,
    Predict,
    draw_noise,
    outpainting_windows,
)
from cospeech.schedulers import NoiseSchedule, linear_betas, strided_spacing

__all__ = ["DiffSHEGPipeline", "DiffSHEGSampling", "DiffSHEGWindow", "ProsodyTrack", "SpeechTrack", "bind_denoiser"]

STATISTICS_FILE = "statistics.safetensors"

_REPRESENTATIONS: dict[str, type[DiffSHEGRepresentation]] = {"beat": DiffSHEGBeat, "show": DiffSHEGShow}
_RATE_HZ = 16_000.0
_PUBLISHED_RATE_HZ = 22_050.0  # at which the published script reads a file, to call it 16 kHz afterwards
_PUBLISHED_FRAME_RATE_HZ = 15.0  # of its mel frames, for SHOW too, whose networks were trained at 30


class SpeechTrack(Protocol):
    """Recordings ``(S,)`` to features, as many as there are frames of motion, ``(T, feature_dim)``."""

    rate_hz: float
    feature_dim: int

    def __call__(self, waveform: Tensor, num_frames: int, /) -> Tensor:
        """The features of a recording."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same on another device."""


class ProsodyTrack(nn.Module):
    """``ProsodyFeatures`` as a track: nothing to download, for models trained from nothing.

    Args:
        features: What is heard.
    """

    def __init__(self, features: ProsodyFeatures):
        super().__init__()
        self.features = features
        self.rate_hz, self.feature_dim = float(features.rate_hz), features.feature_dim

    def forward(self, waveform: Tensor, num_frames: int) -> Tensor:
        """Features ``(num_frames, C)`` of a recording ``(S,)``."""
        return stretch_frames(self.features(waveform[None])[0], num_frames)


@dataclass(frozen=True, kw_only=True)
class DiffSHEGSampling:
    """How windows are sampled; the defaults are those of the published script for BEAT.

    Attributes:
        num_steps: DDIM steps; must divide the levels of the process evenly enough for a whole stride.
        window_frames: Frames of a window.
        overlap_frames: Frames that it shares with the next.
        jump_length: See ``Foppas``.
        num_visits: See ``Foppas``.
        guidance_scale: Above 1 the condition counts more than it does; needs a model trained for it.
        eta: Share of fresh noise in a step.
    """

    num_steps: int = 25
    window_frames: int = 34
    overlap_frames: int = 4
    jump_length: int = 3
    num_visits: int = 2
    guidance_scale: float = 1.0
    eta: float = 0.0

    @classmethod
    def show(cls) -> DiffSHEGSampling:
        """The settings of the published script for SHOW."""
        return cls(window_frames=88, overlap_frames=10, num_visits=5, guidance_scale=1.15)

    def foppas(self, num_timesteps: int = 1000) -> Foppas:
        """The sampler on a process of so many levels."""
        full = NoiseSchedule(linear_betas(num_timesteps))
        schedule = full.respace(strided_spacing(num_timesteps, self.num_steps))
        return Foppas.ddim(schedule, eta=self.eta, jump_length=self.jump_length, num_visits=self.num_visits)


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


class DiffSHEGWindow(NamedTuple):
    """What the speech of one window of a clip tells.

    Attributes:
        mel: ``(T, mel_dim)``.
        speech: ``(T, C)``.
        num_frames: How many of the frames lie within the clip.
        is_last: Whether the clip ends in this window.
    """

    mel: Tensor
    speech: Tensor
    num_frames: int
    is_last: bool


class Clip(NamedTuple):
    """A clip on its way: what is still to come of its speech, who speaks, where its noise comes from."""

    windows: Iterator[DiffSHEGWindow]
    speaker: int
    generator: torch.Generator


class WindowBatch(NamedTuple):
    """One window of several clips, all of one length."""

    mel: Tensor
    speech: Tensor
    clips: tuple[Clip, ...]


Kept = dict[tuple[int, ...], dict[float, DiffSHEGModulations]]


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
        denoiser: DiffSHEGDenoiser,
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
            TypeError: If the speech track is neither a ``ProsodyTrack`` nor a ``HubertTrack`` loaded by name.
            CheckpointError: If the folder cannot be written.
        """
        prosody = self.speech.features.config if isinstance(self.speech, ProsodyTrack) else None
        hubert = self.speech.name if isinstance(self.speech, HubertTrack) else None
        if prosody is None and hubert is None:
            raise TypeError(
                f"Only a ProsodyTrack, or a HubertTrack loaded by name, can be saved; got {type(self.speech).__name__}."
            )
        folder = Path(folder)
        save_model(self.denoiser, folder / "denoiser", dtype=dtype)
        save_tensors({"mean": self.representation.mean, "std": self.representation.std}, folder / STATISTICS_FILE)
        settings = DiffSHEGSettings(
            kind="beat" if isinstance(self.representation, DiffSHEGBeat) else "show",
            rate_hz=self.representation.rate_hz,
            prosody=prosody,
            hubert=hubert,
            hearing=self.hearing,
            sampling=self.sampling,
        )
        # Last: a folder without its index is no pipeline, so a half-written one is never taken for whole.
        write_index(folder, type(self), config_to_dict(settings))

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
        num_frames = sum(self._num_frames(request.num_samples) for request in requests)
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
        rows = self.sampling.window_frames
        return self._with(optimize(self.denoiser, precision=precision, rows=rows, compiled=compiled), self.speech)

    @cached_property
    def foppas(self) -> Foppas:
        """The sampler."""
        return self.sampling.foppas(self.denoiser.config.num_timesteps)

    def _with(self, denoiser: DiffSHEGDenoiser, speech: SpeechTrack) -> Self:
        return type(self)(
            denoiser,
            self.representation,
            speech,
            sampling=self.sampling,
            hearing=self.hearing,
            strict_upstream=self.strict_upstream,
        )

    @property
    def _device(self) -> torch.device:
        return self.denoiser.positions.device

    def _num_frames(self, num_samples: int) -> int:
        if self.hearing == "window":
            return self.clock.num_frames(num_samples)
        return max(1, int(num_samples / self.clock.rate_hz * self.rate_hz + 1e-6))

    def _clip(self, blocks: Iterable[Tensor], speaker: int, seed: int) -> Clip:
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
        heard = self._hear_windows(blocks) if self.hearing == "window" else self._hear_clip(blocks)
        return Clip(heard, speaker, generator)

    @torch.no_grad()
    def _hear_windows(self, blocks: Iterable[Tensor]) -> Iterator[DiffSHEGWindow]:
        for window in self.clock.windows(blocks):
            mel, speech = self.hear(window.samples.to(self._device), self.clock.window_frames)
            yield DiffSHEGWindow(mel, speech, window.num_frames, window.is_last)

    @torch.no_grad()
    def _hear_clip(self, blocks: Iterable[Tensor]) -> Iterator[DiffSHEGWindow]:
        waveform = torch.cat(list(blocks)).to(self._device)
        num_frames = self._num_frames(len(waveform))
        mel, speech = self.hear(waveform, num_frames)
        windows = outpainting_windows(num_frames, self.sampling.window_frames, self.sampling.overlap_frames)
        for window in windows:
            yield DiffSHEGWindow(mel[window], speech[window], window.stop - window.start, window is windows[-1])

    def hear(self, waveform: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Mel frames ``(T, mel_dim)`` and speech features ``(T, C)`` of samples at ``clock.rate_hz``."""
        sinc = KAISER_BEST if self.strict_upstream else None
        missing = int(self.clock.rate_hz / self.rate_hz) + 1 - len(waveform)
        padded = nn.functional.pad(waveform, (0, max(0, missing)))  # mel and network both want a frame at least
        mel = diffsheg_mel(padded, self.clock.rate_hz, frame_rate_hz=self.rate_hz, sinc=sinc)
        mel = mel[torch.arange(num_frames, device=mel.device).clamp_max(len(mel) - 1)]
        heard = padded
        if not self.strict_upstream:  # the published slip: 22,050 Hz go to a network that takes them for 16,000
            heard = resample(padded, self.clock.rate_hz, self.speech.rate_hz)
        return mel, self.speech(heard, num_frames)

    @torch.no_grad()
    def _run(self, clips: Sequence[Clip]) -> Iterator[tuple[int, Motion]]:
        """Sample the clips side by side, window by window; yield the number of a clip and its next frames."""
        kept: Kept = {}
        windows = OutpaintedWindows[WindowBatch](
            lambda batch, known: self._sample(batch, known, kept), overlap_frames=self.sampling.overlap_frames
        )
        tails: dict[int, Tensor | None] = dict.fromkeys(range(len(clips)))
        while tails:
            heard = {number: next(clips[number].windows) for number in tails}
            for numbers in _of_one_length(heard):
                rows = [tails[number] for number in numbers]
                known = torch.cat([row for row in rows if row is not None]) if rows[0] is not None else None
                batch = WindowBatch(
                    torch.stack([heard[number].mel for number in numbers]),
                    torch.stack([heard[number].speech for number in numbers]),
                    tuple(clips[number] for number in numbers),
                )
                # A window as short as the overlap is the only one of its clip, and hands nothing on.
                overlap = min(self.sampling.overlap_frames, batch.mel.shape[1] - 1)
                frames, state = windows.step(batch, OutpaintState(known, held=True), overlap_frames=overlap)
                tail = windows.flush(state)
                whole = torch.cat([frames, tail], dim=1)
                for row, number in enumerate(numbers):
                    window = heard[number]
                    piece = whole[row, : window.num_frames] if window.is_last else frames[row]
                    tails[number] = tail[row : row + 1]
                    yield number, replace(self.representation.decode(piece), rate_hz=self.rate_hz)
            tails = {number: tail for number, tail in tails.items() if not heard[number].is_last}

    def _sample(self, batch: WindowBatch, known: Tensor | None, kept: Kept) -> Tensor:
        """One window of normalised motion, ``(B, T, C)``."""
        generators = [clip.generator for clip in batch.clips]
        who = tuple(clip.speaker - 1 for clip in batch.clips)
        speaker = torch.tensor(who, device=self._device)
        if who not in kept:
            kept.clear()
            clock = self.foppas.steps.clock
            timesteps = torch.tensor([int(timestep) for timestep in clock], device=self._device)
            kept[who] = dict(zip(clock, self.denoiser.modulate(speaker, timesteps), strict=True))
        inpainted = known is not None and known.shape[1] > 0
        predict = bind_denoiser(
            self.denoiser,
            batch.mel,
            batch.speech,
            speaker,
            self.foppas.timesteps(inpainted=inpainted),
            modulations=kept[who],
            guidance_scale=self.sampling.guidance_scale,
        )

        def draw(kind: DrawKind, shape: Sequence[int]) -> Tensor:
            return draw_noise(shape, generators, dtype=batch.mel.dtype, device=self._device)

        start = draw("step", (len(who), batch.mel.shape[1], self.denoiser.config.motion_dim))
        return self.foppas.sample_window(predict, start, known, draw=draw)


def bind_denoiser(
    denoiser: DiffSHEGDenoiser,
    mel: Tensor,
    speech: Tensor,
    speaker: Tensor,
    timesteps: Sequence[float],
    *,
    modulations: Mapping[float, DiffSHEGModulations] | None = None,
    guidance_scale: float = 1.0,
) -> Predict:
    """The denoiser with its conditions, as a sampler sees it; what all calls share is done here, once.

    Args:
        denoiser: The network.
        mel: Of the window, ``(B, T, mel_dim)``.
        speech: Of the window, ``(B, T, speech_feature_dim)``.
        speaker: ``(B,)``.
        timesteps: At which it will be called.
        modulations: By timestep, where they are kept from window to window.
        guidance_scale: See the denoiser.
    """
    conditionings = denoiser.prepare(
        mel,
        speech,
        speaker,
        torch.tensor([int(timestep) for timestep in timesteps], device=mel.device),
        modulations=None if modulations is None else [modulations[timestep] for timestep in timesteps],
        guidance_scale=guidance_scale,
    )
    at = dict(zip(timesteps, conditionings, strict=True))
    return lambda noisy, timestep: denoiser.denoise(noisy, at[timestep])


def _of_one_length(heard: Mapping[int, DiffSHEGWindow]) -> list[list[int]]:
    """The clips in groups whose windows have as many frames."""
    groups: dict[int, list[int]] = {}
    for number, window in heard.items():
        groups.setdefault(len(window.mel), []).append(number)
    return list(groups.values())
