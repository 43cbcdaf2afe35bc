"""DiffSHEG window by window: what the speech of a window says goes to the network, which FOPPAS has paint on.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cospeech.models import BufferedDiffSHEG, DiffSHEGDenoiser, DiffSHEGModulations
from cospeech.pipelines.diffsheg_speech import DiffSHEGWindow
from cospeech.samplers import DrawKind, Foppas, OutpaintedWindows, OutpaintState, Predict, draw_noise
from cospeech.schedulers import NoiseSchedule, linear_betas, strided_spacing

__all__ = ["Clip", "DiffSHEGSampling", "WindowSampler", "bind_denoiser"]


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


@dataclass
class WindowSampler:
    """Samples clips side by side, window by window.

    Attributes:
        denoiser: The network.
        foppas: The sampler.
        sampling: Its settings.
        kept: What ``modulate`` said for the speakers that speak now, by timestep: the same in all of their windows.
    """

    denoiser: DiffSHEGDenoiser | BufferedDiffSHEG
    foppas: Foppas
    sampling: DiffSHEGSampling
    kept: dict[tuple[int, ...], dict[float, DiffSHEGModulations]] = field(default_factory=dict)

    @torch.no_grad()
    def run(self, clips: Sequence[Clip]) -> Iterator[tuple[int, Tensor]]:
        """The number of a clip and its next frames ``(T, C)`` of normalised motion, until all have come to an end."""
        windows = OutpaintedWindows[WindowBatch](self._sample, overlap_frames=self.sampling.overlap_frames)
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
                    tails[number] = tail[row : row + 1]
                    yield number, whole[row, : window.num_frames] if window.is_last else frames[row]
            tails = {number: tail for number, tail in tails.items() if not heard[number].is_last}

    def _sample(self, batch: WindowBatch, known: Tensor | None) -> Tensor:
        """One window of normalised motion, ``(B, T, C)``."""
        generators, device = [clip.generator for clip in batch.clips], batch.mel.device
        who = tuple(clip.speaker - 1 for clip in batch.clips)
        speaker = torch.tensor(who, device=device)
        if who not in self.kept:
            self.kept.clear()
            clock = self.foppas.steps.clock
            timesteps = torch.tensor([int(timestep) for timestep in clock], device=device)
            self.kept[who] = dict(zip(clock, self.denoiser.modulate(speaker, timesteps), strict=True))
        inpainted = known is not None and known.shape[1] > 0
        predict = bind_denoiser(
            self.denoiser,
            batch.mel,
            batch.speech,
            speaker,
            self.foppas.timesteps(inpainted=inpainted),
            modulations=self.kept[who],
            guidance_scale=self.sampling.guidance_scale,
        )

        def draw(kind: DrawKind, shape: Sequence[int]) -> Tensor:
            return draw_noise(shape, generators, dtype=batch.mel.dtype, device=device)

        start = draw("step", (len(who), batch.mel.shape[1], self.denoiser.config.motion_dim))
        return self.foppas.sample_window(predict, start, known, draw=draw)


def bind_denoiser(
    denoiser: DiffSHEGDenoiser | BufferedDiffSHEG,
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
    conditionings: Sequence[Any] = denoiser.prepare(
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
