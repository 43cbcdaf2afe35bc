"""A diffusion process as a table: how much signal is left at each timestep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from cospeech.schedulers.prediction import Mixture

__all__ = ["NoiseSchedule"]


@dataclass(frozen=True)
class NoiseSchedule:
    """Variances of a diffusion process and what follows from them, as floats.

    Attributes:
        betas: Variance that each level adds, level 0 the least noisy.
        timesteps: The number by which the network knows each level, ascending; by default 0, 1, 2, ...

    Raises:
        ValueError: If a variance lies outside (0, 1), or the timesteps do not ascend, one per variance.

    Example:
        >>> from cospeech.schedulers import leading_spacing, linear_betas
        >>> schedule = NoiseSchedule(linear_betas(1000)).respace(leading_spacing(1000, 25))
        >>> schedule.timesteps[:3], len(schedule.betas)
        ((0, 40, 80), 25)
        >>> round(schedule.mixture(960).signal ** -1, 3)
        106.958
    """

    betas: tuple[float, ...]
    timesteps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        betas = tuple(float(beta) for beta in self.betas)
        timesteps = tuple(int(timestep) for timestep in self.timesteps) or tuple(range(len(betas)))
        if not betas or not all(0 < beta < 1 for beta in betas):
            raise ValueError("`betas` must hold at least one variance, each between 0 and 1.")
        if len(timesteps) != len(betas) or list(timesteps) != sorted(set(timesteps)):
            raise ValueError(f"`timesteps` must ascend, one for each of the {len(betas)} betas; got {timesteps}.")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "timesteps", timesteps)

    @cached_property
    def alphas_cumprod(self) -> tuple[float, ...]:
        """Share of the clean sample's variance left at each level ("abar")."""
        return tuple(accumulate((1 - beta for beta in self.betas), mul))

    @cached_property
    def previous_alphas_cumprod(self) -> tuple[float, ...]:
        """``alphas_cumprod`` one level cleaner; 1 before the first."""
        return (1.0, *self.alphas_cumprod[:-1])

    @cached_property
    def posterior_variances(self) -> tuple[float, ...]:
        """Variance of the next cleaner sample where noisy and clean sample are known; 0 at level 0."""
        levels = zip(self.betas, self.alphas_cumprod, self.previous_alphas_cumprod, strict=True)
        return tuple(beta * (1 - previous) / (1 - current) for beta, current, previous in levels)

    @cached_property
    def posterior_mean_weights(self) -> tuple[tuple[float, float], ...]:
        """Weights of clean and noisy sample in the mean of the next cleaner sample."""
        levels = zip(self.betas, self.alphas_cumprod, self.previous_alphas_cumprod, strict=True)
        return tuple(
            (beta * math.sqrt(previous) / (1 - current), (1 - previous) * math.sqrt(1 - beta) / (1 - current))
            for beta, current, previous in levels
        )

    def level(self, timestep: int) -> int:
        """Where in the tables a timestep stands.

        Raises:
            ValueError: If the process has no such timestep.
        """
        found = self._levels.get(timestep)
        if found is None:
            first, last = self.timesteps[0], self.timesteps[-1]
            raise ValueError(
                f"There is no timestep {timestep}; the process has {len(self.betas)} from {first} to {last}."
            )
        return found

    def mixture(self, timestep: int) -> Mixture:
        """Shares of clean sample and noise in the noisy sample at a timestep."""
        left = self.alphas_cumprod[self.level(timestep)]
        signal, sigma = math.sqrt(left), math.sqrt(1 - left)
        return Mixture(signal, sigma, -sigma, signal)

    def respace(self, timesteps: Sequence[int]) -> NoiseSchedule:
        """The same process seen only at some of its timesteps, which keep their numbers.

        Args:
            timesteps: Ascending; see the spacing rules.

        Raises:
            ValueError: If the process has no such timestep, or they do not ascend.
        """
        left = [self.alphas_cumprod[self.level(timestep)] for timestep in timesteps]
        betas = (1 - here / before for here, before in zip(left, [1.0, *left], strict=False))
        return NoiseSchedule(tuple(betas), tuple(timesteps))

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy samples, each at its own timestep, as in training.

        Args:
            clean: ``(B, ...)``.
            noise: Standard normal, same shape.
            timesteps: Integers, ``(B,)``.
        """
        levels = torch.tensor([self.level(timestep) for timestep in timesteps.tolist()])
        left = torch.tensor(self.alphas_cumprod, dtype=torch.float64)[levels].view(-1, *[1] * (clean.ndim - 1))
        return clean * left.sqrt().to(clean) + noise * (1 - left).sqrt().to(clean)

    @cached_property
    def _levels(self) -> dict[int, int]:
        return {timestep: level for level, timestep in enumerate(self.timesteps)}
