"""How GlobalDiff's denoiser meets its sampler: conditions bound, guidance, and what is kept from window to window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cospeech.models import GlobalDiffDenoiser, Modulations, StackedDenoiser
from cospeech.samplers import DrawKind, GlobalDiffSampler, Predict, draw_noise, guide_batched

__all__ = ["WindowInputs", "WindowSampler", "bind_denoiser"]


class WindowInputs(NamedTuple):
    """What the denoiser is told about one window of each clip of a batch.

    Attributes:
        noise: Where sampling starts, ``(B, T, 6 J + 3)``.
        features: Of the speech, ``(B, T, C)``.
        expressions: Of the face, ``(B, T, E)``.
        speakers: As the networks number them, ``(B,)``.
        generators: Of further noise, one for each clip; only FOPPAS takes some.
    """

    noise: Tensor
    features: Tensor
    expressions: Tensor
    speakers: Tensor
    generators: tuple[torch.Generator, ...] = ()

    def with_nobody(self) -> WindowInputs:
        """The same windows, and behind them the same told by speaker 0; the noise is not repeated."""
        return WindowInputs(
            noise=self.noise,
            features=torch.cat([self.features, self.features]),
            expressions=torch.cat([self.expressions, self.expressions]),
            speakers=torch.cat([self.speakers, torch.zeros_like(self.speakers)]),
            generators=self.generators,
        )


class WindowSampler:
    """Samples windows of one run, for ``GlobalDiffSampler.windows``.

    What speakers and times say to the denoiser takes a third of its weights to find out, and is kept for as long as
    the windows are of the same speakers.

    Args:
        denoiser: In evaluation mode.
        sampler: Settings of the sampler.
        guidance_scale: 1 is the network as it is; above 1 exaggerates what the speaker's identity changes, below 1
            plays it down.
    """

    def __init__(
        self, denoiser: GlobalDiffDenoiser | StackedDenoiser, sampler: GlobalDiffSampler, guidance_scale: float = 1.0
    ):
        self.denoiser, self.sampler, self.guidance_scale = denoiser, sampler, check_guidance(guidance_scale)
        self._times = sampler.steps.clock
        self._speakers: tuple[int, ...] = ()
        self._modulations: Modulations | None = None

    def __call__(self, inputs: WindowInputs, seed: Tensor) -> Tensor:
        """One window of motion and expressions, ``(B, T, 6 J + 3 + E)``."""
        width = self.denoiser.config.motion_dim
        seed, seed_expressions = seed[..., :width], seed[..., width:]
        speakers = tuple(inputs.speakers.tolist())
        if self._modulations is None or speakers != self._speakers:
            told = inputs.speakers if self.guidance_scale == 1 else inputs.with_nobody().speakers
            times = torch.tensor(self._times, device=seed.device)
            self._speakers, self._modulations = speakers, self.denoiser.modulate(told, times)
        predict = bind_denoiser(
            self.denoiser,
            inputs,
            seed,
            self._times,
            guidance_scale=self.guidance_scale,
            modulations=self._modulations,
        )

        def draw(kind: DrawKind, shape: Sequence[int]) -> Tensor:
            return draw_noise(shape, inputs.generators, dtype=seed.dtype, device=seed.device)

        motion = self.sampler.sample_window(predict, inputs.noise, seed, draw=draw)
        expressions = inputs.expressions
        if self.sampler.foppas_visits is not None and seed_expressions.shape[-1]:
            # FOPPAS joins what it samples; expressions are not sampled, so they are gone over to here.
            num_frames = seed.shape[1]
            ramp = torch.linspace(0, 1, num_frames, dtype=seed.dtype, device=seed.device)[:, None]
            head = torch.lerp(seed_expressions, expressions[:, :num_frames], ramp)
            expressions = torch.cat([head, expressions[:, num_frames:]], dim=1)
        return torch.cat([motion, expressions], dim=-1)


def bind_denoiser(
    denoiser: GlobalDiffDenoiser | StackedDenoiser,
    inputs: WindowInputs,
    seed: Tensor,
    times: Sequence[float],
    *,
    guidance_scale: float = 1.0,
    modulations: Modulations | None = None,
) -> Predict:
    """The denoiser with its conditions, as a sampler sees it; what all calls share is done here, once.

    Guidance is classifier-free, away from speaker 0, both sides in one batch. Everything but the speaker is the same on
    both: audio and seed are never dropped in training. The published program has this too, but switched off, and it
    would fail for more than one window.

    Args:
        denoiser: For guidance, trained with dropped speakers.
        inputs: Of ``B`` windows.
        seed: ``(B, F, 6 J + 3)``.
        times: At which the sampler will call.
        guidance_scale: See ``WindowSampler``. 1 costs no second half.
        modulations: What ``denoiser.modulate`` makes of speakers and times, with guidance of
            ``inputs.with_nobody().speakers``; made here when not given.
    """
    guided = check_guidance(guidance_scale) != 1
    if guided:
        inputs, seed = inputs.with_nobody(), torch.cat([seed, seed])
    conditioning: Any = denoiser.prepare(  # each kind of denoiser has its own form
        inputs.features,
        inputs.expressions,
        inputs.speakers,
        seed,
        torch.tensor(times, device=seed.device),
        modulations=modulations,
    )
    index_of = {time: index for index, time in enumerate(times)}

    def predict(noisy: Tensor, time: float) -> Tensor:
        return denoiser.denoise(noisy, conditioning, index_of[time])

    return guide_batched(predict, guidance_scale) if guided else predict


def check_guidance(scale: float) -> float:
    """The scale, if it is one.

    Raises:
        ValueError: If it is negative or not finite.
    """
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"`guidance_scale` must be finite and not negative, 1 for no guidance; got {scale}.")
    return scale
