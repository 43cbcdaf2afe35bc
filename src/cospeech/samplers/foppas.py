"""FOPPAS: a clip of any length from a window denoiser, each window painted on from the last frames of the one before.

Nothing need be trained for it. While a window is denoised, its first frames are replaced after each step by the last
frames of the window before, with as much noise as the window has left; towards the end the two are blended. Now and
then the walk goes back up a few levels, so that known and new frames get to agree. Whatever the denoiser, and whatever
the scheduler: a level is a mixture of clean sample and noise, and a step is a row of a ``StepTable``.

Reference:
    Chen et al., "DiffSHEG: A Diffusion-Based Approach for Real-Time Speech-driven Holistic 3D Expression and Gesture
    Generation", CVPR 2024, section 3.4; numbers and order are those of the published program. Jumps: Lugmayr et al.,
    "RePaint", CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.samplers.denoise import Predict
from cospeech.schedulers import (
    Mixture,
    NoiseSchedule,
    Prediction,
    StepTable,
    ddim_steps,
    flow_euler_steps,
    flow_mixture,
    jump_walk,
)

__all__ = ["Draw", "DrawKind", "Foppas", "OutpaintState", "OutpaintedWindows", "outpainting_windows"]

Inputs = TypeVar("Inputs")

DrawKind = Literal["step", "known", "jump"]
Draw = Callable[[DrawKind, Sequence[int]], Tensor]
"""Makes standard normal noise of a shape: for a step that takes some, for the known frames, for a jump back up."""

_CLEAN = Mixture(1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Foppas:
    """The settings, and the procedure for one window.

    Attributes:
        steps: The sampler's steps.
        mixtures: Shares of signal and noise where each step starts, in the order of ``steps.clock``.
        start_level: Levels that a window with known frames walks; it starts from noise there. By default 60 % of all,
            rounded down, as published.
        jump_length: Levels in a jump back up.
        num_visits: How often each stretch is walked down; 1 for no jumps.
        blend_below: Known and new frames are blended after steps that leave less noise (standard deviation) than this,
            from the known first frame to the new last one; 0 for never.
        jumps: How much noise a jump adds. "exact" is the level's own; "published" is that of the level below, by
            which the sample stays slightly too clean.

    Raises:
        ValueError: If the settings do not fit the steps.

    Example:
        >>> from cospeech.schedulers import NoiseSchedule, linear_betas, strided_spacing
        >>> schedule = NoiseSchedule(linear_betas(1000)).respace(strided_spacing(1000, 25))
        >>> foppas = Foppas.ddim(schedule)
        >>> predict = lambda noisy, timestep: 0.1 * noisy  # what a denoiser bound to its conditions is
        >>> draw = lambda kind, shape: torch.randn(*shape)
        >>> first = foppas.sample_window(predict, torch.randn(1, 34, 192), draw=draw)
        >>> second = foppas.sample_window(predict, torch.randn(1, 34, 192), first[:, -4:], draw=draw)
        >>> torch.equal(second[:, 0], first[:, -4]), foppas.num_calls(inpainted=True)
        (True, 27)
    """

    steps: StepTable
    mixtures: tuple[Mixture, ...]
    start_level: int | None = None
    jump_length: int = 3
    num_visits: int = 2
    blend_below: float = 0.2
    jumps: Literal["published", "exact"] = "published"

    def __post_init__(self) -> None:
        num_levels = len(self.steps.clock)
        if len(self.mixtures) != num_levels:
            raise ValueError(f"`mixtures` must be one for each of the {num_levels} steps; got {len(self.mixtures)}.")
        if self.start_level is not None and not 1 <= self.start_level <= num_levels:
            raise ValueError(f"`start_level` must lie in 1..{num_levels}; got {self.start_level}.")
        if self.jumps not in ("published", "exact"):
            raise ValueError(f"Unknown jumps {self.jumps!r}; choose from published, exact.")
        self.walk  # noqa: B018 (its own errors, early)

    @classmethod
    def ddim(
        cls,
        schedule: NoiseSchedule,
        *,
        prediction: Prediction = "noise",
        eta: float = 0.0,
        start_level: int | None = None,
        jump_length: int = 3,
        num_visits: int = 2,
        blend_below: float = 0.2,
        jumps: Literal["published", "exact"] = "published",
    ) -> Foppas:
        """On a diffusion process, stepped by ``ddim_steps``; see the attributes."""
        steps = ddim_steps(schedule, prediction=prediction, eta=eta)
        return cls(
            steps=steps,
            mixtures=tuple(schedule.mixture(timestep) for timestep in schedule.timesteps[::-1]),
            start_level=start_level,
            jump_length=jump_length,
            num_visits=num_visits,
            blend_below=blend_below,
            jumps=jumps,
        )

    @classmethod
    def flow(
        cls,
        times: Sequence[float],
        *,
        prediction: Prediction = "velocity",
        start_level: int | None = None,
        jump_length: int = 3,
        num_visits: int = 2,
        blend_below: float = 0.2,
    ) -> Foppas:
        """On a straight flow from noise at time 0 to clean at time 1, stepped by ``flow_euler_steps``."""
        if times[-1] != 1:
            raise ValueError(f"`times` must end at 1, the clean sample; got {times[-1]}.")
        return cls(
            steps=flow_euler_steps(times, prediction=prediction),
            mixtures=tuple(flow_mixture(time) for time in times[:-1]),
            start_level=start_level,
            jump_length=jump_length,
            num_visits=num_visits,
            blend_below=blend_below,
            jumps="exact",
        )

    @cached_property
    def walk(self) -> tuple[int, ...]:
        """Levels of a window with known frames, 0 the cleanest, -1 clean."""
        start = int(0.6 * len(self.steps.clock)) if self.start_level is None else self.start_level
        return jump_walk(max(1, start), jump_length=self.jump_length, num_visits=self.num_visits)

    def timesteps(self, *, inpainted: bool) -> tuple[float, ...]:
        """What the network is told in a window, noisiest first, each once: at these it can be prepared."""
        return self.steps.clock[-1 - max(self.walk) :] if inpainted else self.steps.clock

    def num_calls(self, *, inpainted: bool) -> int:
        """How often the network is called in a window."""
        return sum(after < level for level, after in pairwise(self.walk)) if inpainted else len(self.steps.clock)

    def sample_window(
        self,
        predict: Predict,
        noise: Tensor,
        known: Tensor | None = None,
        *,
        draw: Draw,
        tails: MutableMapping[int, Tensor] | None = None,
        tail_frames: int | None = None,
    ) -> Tensor:
        """One window.

        Args:
            predict: The denoiser with its conditions, from noisy window and timestep to prediction.
            noise: Standard normal, ``(B, T, C)``.
            known: The frames that the window begins with, ``(B, F, C)``; None for a window that is free. ``F`` may
                change from window to window.
            draw: Makes further noise.
            tails: How the last frames looked at each level, read where a level is there and written after each step:
                the published experiment ``same_overlap_noisy``, in which the known frames are not noised anew. One
                mapping serves all windows of a clip.
            tail_frames: How many frames ``tails`` is to hold for the next window; as many as are known by default.

        Returns:
            The clean window, ``(B, T, C)``.

        Raises:
            ValueError: If the known frames do not fit the window.
        """
        check_shape("noise", noise, "B T C")
        if known is not None:
            check_shape("known", known, f"{noise.shape[0]} F {noise.shape[2]}")
            if known.shape[1] >= noise.shape[1]:
                raise ValueError(f"`known` must be shorter than the window; got {known.shape[1]} frames.")
        inpainted = known is not None and known.shape[1] > 0
        num_levels, sample = len(self.steps.clock), noise
        for level, after in pairwise(self.walk if inpainted else range(num_levels - 1, -2, -1)):
            if after > level:
                sample = self._jump(sample, level, draw)
                continue
            timestep = self.steps.clock[num_levels - 1 - level]
            prediction = predict(sample, timestep)
            fresh = draw("step", sample.shape) if self.steps.takes_noise(timestep) else None
            sample = self.steps.step(prediction, timestep, sample, fresh)
            if known is not None and inpainted:
                sample = self._replace(sample, known, level, draw, tails)
            if tails is not None:
                count = tail_frames if tail_frames is not None else known.shape[1] if known is not None else 0
                tails[level] = sample[:, sample.shape[1] - count :]
        return sample

    def _mixture(self, level: int) -> Mixture:
        return self.mixtures[len(self.mixtures) - 1 - level] if level >= 0 else _CLEAN

    def _jump(self, sample: Tensor, level: int, draw: Draw) -> Tensor:
        """From a level to the next noisier one."""
        low = level - 1 if self.jumps == "published" else level
        here, there = self._mixture(low), self._mixture(low + 1)
        kept = there.signal / here.signal
        added = math.sqrt(max(0.0, there.sigma**2 - (kept * here.sigma) ** 2))
        return (sample * kept).add_(draw("jump", sample.shape), alpha=added)

    def _replace(
        self, sample: Tensor, known: Tensor, level: int, draw: Draw, tails: MutableMapping[int, Tensor] | None
    ) -> Tensor:
        """The sample after the step from ``level``, its first frames put in place."""
        left, num_frames = self._mixture(level - 1), known.shape[1]
        if tails is not None and level in tails:
            head = tails[level]
        elif left.sigma == 0:
            head = known
        else:
            head = (known * left.signal).add_(draw("known", known.shape), alpha=left.sigma)
        if left.sigma < self.blend_below:
            ramp = torch.linspace(0, 1, num_frames, dtype=sample.dtype, device=sample.device)[:, None]
            head = torch.lerp(head, sample[:, :num_frames], ramp)
        return torch.cat([head, sample[:, num_frames:]], dim=1)


def outpainting_windows(num_frames: int, window_frames: int, overlap_frames: int) -> tuple[slice, ...]:
    """Where the windows of a clip lie: whole ones, and a shorter last one where they do not come out even.

    Raises:
        ValueError: If there are no frames, or the overlap does not fit the window.

    Example:
        >>> [(window.start, window.stop) for window in outpainting_windows(109, 34, 4)]
        [(0, 34), (30, 64), (60, 94), (90, 109)]
    """
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be at least 1; got {num_frames}.")
    if not 0 <= overlap_frames < window_frames:
        raise ValueError(f"`overlap_frames` must be from 0 to {window_frames - 1}; got {overlap_frames}.")
    step = window_frames - overlap_frames
    starts = range(0, max(1, num_frames - overlap_frames), step)
    return tuple(slice(start, min(start + window_frames, num_frames)) for start in starts)


class OutpaintState(NamedTuple):
    """What is kept between windows.

    Attributes:
        known: Frames that the next window begins with, ``(B, F, C)``; None where it is free.
        held: Whether they are still to be put out, from the next window where there is one.
    """

    known: Tensor | None
    held: bool


class OutpaintedWindows(Generic[Inputs]):
    """Sample windows in order and join them; the frames that two windows share come from the later one.

    Args:
        sample: Makes one window ``(B, T, C)`` from its inputs and the known frames ``(B, F, C)``, or None.
        overlap_frames: Frames that a window shares with the next.

    Example:
        >>> def count_on(num_frames, known):
        ...     start = 0.0 if known is None else known[0, 0, 0]
        ...     return (start + torch.arange(float(num_frames)))[None, :, None]
        >>> windows = OutpaintedWindows(count_on, overlap_frames=2)
        >>> [frames.flatten().tolist() for frames in windows.run([5, 5, 3])]
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0], [7.0, 8.0]]
    """

    def __init__(self, sample: Callable[[Inputs, Tensor | None], Tensor], *, overlap_frames: int):
        if overlap_frames < 0:
            raise ValueError(f"`overlap_frames` must not be negative; got {overlap_frames}.")
        self.sample = sample
        self.overlap_frames = overlap_frames

    def init_state(self, known: Tensor | None = None) -> OutpaintState:
        """Before the first window, which is free, or begins with the frames ``known``, ``(B, F, C)``."""
        return OutpaintState(known, held=False)

    def step(
        self, inputs: Inputs, state: OutpaintState, *, overlap_frames: int | None = None
    ) -> tuple[Tensor, OutpaintState]:
        """Sample the next window.

        Args:
            inputs: Of this window.
            state: What the window before left.
            overlap_frames: Shared with the window that follows, where not as always.

        Returns:
            The frames that are now final, and the state that follows them.

        Raises:
            ValueError: If the window is no longer than the overlap.
        """
        overlap = self.overlap_frames if overlap_frames is None else overlap_frames
        window = self.sample(inputs, state.known)
        num_frames = window.shape[1]
        if num_frames <= overlap:
            raise ValueError(f"A window must hold more than the {overlap} frames of the overlap; got {num_frames}.")
        return window[:, : num_frames - overlap], OutpaintState(window[:, num_frames - overlap :].clone(), held=True)

    def flush(self, state: OutpaintState) -> Tensor:
        """The frames ``(B, overlap, C)`` after the last window.

        Raises:
            ValueError: If there was no window.
        """
        if not state.held or state.known is None:
            raise ValueError("There is nothing to flush: no window was sampled.")
        return state.known

    def run(self, inputs: Iterable[Inputs], known: Tensor | None = None) -> Iterator[Tensor]:
        """All windows, one at a time: what each ``step`` gives, then ``flush``."""
        state = self.init_state(known)
        for item in inputs:
            frames, state = self.step(item, state)
            yield frames
        if state.held:
            yield self.flush(state)
