"""How GlobalDiff samples: ten looks at each window, seed frames in-painted, smoothing, seams.

Features are ``(B, T, 6 J + 3)``: every joint's global rotation as its first two rows, then the root translation.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; numbers and order are those of the published program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations import normalize_rot6d
from cospeech.samplers.denoise import DenoiseStep, Predict, denoise
from cospeech.samplers.foppas import Draw, Foppas
from cospeech.samplers.seeded_windows import SeededWindows, inpaint_seed
from cospeech.samplers.smoothing import smooth_savgol
from cospeech.schedulers import StepTable, flow_mixture, flow_renoise_steps, flow_times

__all__ = ["GlobalDiffSampler", "count_published_windows"]

Inputs = TypeVar("Inputs")


@dataclass(frozen=True, kw_only=True)
class GlobalDiffSampler:
    """Settings of the sampler, and its two procedures: one window, and windows in order.

    Attributes:
        overlap_frames: Frames that a window repeats from the one before.
        num_calls: Calls of the denoiser per window.
        smoothing_frames: Length of the Savitzky-Golay filter, odd.
        smoothing_order: Degree of its polynomial.
        seams: How two windows share their overlap: "ramp" goes over from the earlier to the later one in equal steps;
            "flat", as published, averages them, which leaves half of their difference as a jump on either side.
        foppas_visits: How often DiffSHEG's FOPPAS walks each stretch down, if it is to stand in for both the in-painted
            seed and the seams; see ``Foppas.num_visits``. By default the paper's own rule holds.

    Example:
        >>> sampler = GlobalDiffSampler(num_calls=2)
        >>> def sample(noise, seed):
        ...     predict = lambda noisy, time: 0.5 * noisy + time  # what a denoiser bound to its conditions is
        ...     return sampler.sample_window(predict, noise, seed)
        >>> noises = torch.randn(3, 1, 60, 333)
        >>> motion = torch.cat(list(sampler.windows(sample).run(noises, seed=torch.zeros(1, 8, 333))), dim=1)
        >>> motion.shape  # 60 + 52 + 52
        torch.Size([1, 164, 333])
    """

    overlap_frames: int = 8
    num_calls: int = 10
    smoothing_frames: int = 7
    smoothing_order: int = 2
    seams: Literal["ramp", "flat"] = "ramp"
    foppas_visits: int | None = None

    def __post_init__(self) -> None:
        if self.seams not in ("ramp", "flat"):
            raise ValueError(f"Unknown seams {self.seams!r}; choose from ramp, flat.")
        _ = self.foppas  # its own errors, early

    @property
    def steps(self) -> StepTable:
        """The steps of one window; ``steps.clock`` holds the times at which the denoiser is called."""
        return flow_renoise_steps(flow_times(self.num_calls))

    @property
    def foppas(self) -> Foppas | None:
        """The other rule, where it is asked for. It walks from the first level, since a flow's 60 % are no noise."""
        if self.foppas_visits is None:
            return None
        return Foppas(
            steps=self.steps,
            mixtures=tuple(flow_mixture(time) for time in self.steps.clock),
            start_level=self.num_calls,
            num_visits=self.foppas_visits,
            jumps="exact",
        )

    def sample_window(
        self,
        predict: Predict,
        noise: Tensor,
        seed: Tensor,
        *,
        draw: Draw | None = None,
        callback: Callable[[DenoiseStep], object] | None = None,
    ) -> Tensor:
        """One window that begins near the seed.

        Args:
            predict: The denoiser with its conditions, from noisy window and time to clean window.
            noise: Standard normal, ``(B, T, 6 J + 3)``. It is mixed in again, the same, at every step.
            seed: The frames that the window begins with, ``(B, overlap, 6 J + 3)``.
            draw: Makes further noise; only FOPPAS takes some.
            callback: Called after each step of the paper's own rule.

        Returns:
            The clean window, its rotations orthonormal, ``(B, T, 6 J + 3)``.

        Raises:
            ValueError: If the seed does not fit the noise or the overlap, or FOPPAS has no ``draw``.
        """
        check_shape("noise", noise, "B T C")
        check_shape("seed", seed, f"{noise.shape[0]} {self.overlap_frames} {noise.shape[2]}")
        if (foppas := self.foppas) is not None:
            if draw is None:
                raise ValueError("FOPPAS takes noise for known frames and jumps; pass `draw`.")
            more = draw  # a name that is no longer optional
            window = foppas.sample_window(
                predict, noise, seed, draw=lambda kind, shape: noise if kind == "step" else more(kind, shape)
            )
            return _normalize(self.smooth(window))
        inpainting = inpaint_seed(predict, seed)
        window = denoise(inpainting, noise, self.steps, draw=lambda: noise, callback=callback)
        return _normalize(self.smooth(window))

    def smooth(self, window: Tensor) -> Tensor:
        """Smooth a window ``(B, T, C)`` behind its seed.

        The filter starts half its length inside the seed, which its edge leaves as it was.
        """
        start = max(0, self.overlap_frames - self.smoothing_frames // 2)
        smooth = smooth_savgol(window[:, start:], self.smoothing_frames, self.smoothing_order)
        return torch.cat([window[:, :start], smooth], dim=1)

    def windows(self, sample: Callable[[Inputs, Tensor], Tensor]) -> SeededWindows[Inputs]:
        """Windows in order, joined over the overlap of this sampler.

        Args:
            sample: Makes a window from its inputs and the seed, around ``sample_window``. It may append channels that
                are not sampled (facial expressions): they are joined likewise, and come back behind the seed's.
        """
        later_weights = torch.full((self.overlap_frames,), 0.5) if self.seams == "flat" else None
        if self.foppas_visits is not None:  # which has gone over from the earlier to the later window by itself
            later_weights = torch.ones(self.overlap_frames)
        return SeededWindows(sample, overlap_frames=self.overlap_frames, later_weights=later_weights)


def count_published_windows(num_samples: int, *, sample_rate_hz: int = 16_000) -> int:
    """How many windows the published program makes of an audio file, the tail dropped.

    Windows last two seconds and share ``int(8 / 30 s)`` of samples with the next one.

    Raises:
        ValueError: If the audio is too short for two windows, at which the published program stops.

    Example:
        >>> count_published_windows(160_000)
        5
    """
    window_samples = 2 * sample_rate_hz
    hop_samples = window_samples - int(sample_rate_hz / 30 * 8)
    shortest = window_samples + hop_samples
    if num_samples < shortest:
        raise ValueError(f"The published rule needs at least {shortest} samples; got {num_samples}.")
    return (num_samples - window_samples) // hop_samples + 1


def _normalize(window: Tensor) -> Tensor:
    rotations = normalize_rot6d(window[..., :-3].reshape(*window.shape[:-1], -1, 6)).flatten(-2)
    return torch.cat([rotations, window[..., -3:]], dim=-1)
