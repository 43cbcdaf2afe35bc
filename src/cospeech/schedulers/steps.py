"""A sampler as a table: at each timestep, the weights that make up the next sample.

Every solver on these pages is one line, ``noisy * a + prediction * b + noise * c``, with its own three floats per
step. They are worked out once, in float64; what remains at run time is one to three passes over the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from cospeech.schedulers.prediction import Weights, weigh

__all__ = ["StepTable"]


@dataclass(frozen=True)
class StepTable:
    """The steps of one sampler, from noise to clean.

    Attributes:
        clock: What the network is told at each step, in the order of the walk: integer timesteps of a diffusion
            process (falling), or times of a flow (rising from 0).
        weights: Of noisy sample and prediction in the next sample.
        noise_weights: Of noise in the next sample; 0 where a step takes none.

    Example:
        >>> import torch
        >>> halve = StepTable(clock=(1, 0), weights=(Weights(0.5, 0.5), Weights(0.0, 1.0)), noise_weights=(0.0, 0.0))
        >>> halve.step(torch.tensor(1.0), 1, torch.tensor(3.0))
        tensor(2.)
    """

    clock: tuple[float, ...]
    weights: tuple[Weights, ...]
    noise_weights: tuple[float, ...]

    def takes_noise(self, timestep: float) -> bool:
        """Whether the step from here takes noise."""
        return self._row(timestep)[1] != 0

    def step(
        self,
        prediction: Tensor,
        timestep: float,
        noisy: Tensor,
        noise: Tensor | None = None,
        *,
        out: Tensor | None = None,
    ) -> Tensor:
        """The next sample.

        Args:
            prediction: What the network made of ``noisy``, any shape.
            timestep: Where ``noisy`` stands, as listed in ``clock``.
            noisy: The sample, same shape.
            noise: Standard normal, same shape; needed where ``takes_noise``, else unused.
            out: Memory for the result. ``noisy`` itself may be given where nothing else needs it any more, gradients
                included: small samples step faster in place. By default new memory is taken.

        Raises:
            ValueError: If ``clock`` does not list the timestep, or noise is missing.
        """
        weights, noise_weight = self._row(timestep)
        if noise_weight == 0:
            return weigh(noisy, prediction, weights, out=out)
        if noise is None:
            raise ValueError(f"The step from {timestep} takes noise; pass `noise`.")
        return weigh(noisy, prediction, weights, out=out).add_(noise, alpha=noise_weight)

    def _row(self, timestep: float) -> tuple[Weights, float]:
        try:
            return self._rows[timestep]
        except KeyError:
            raise ValueError(f"There is no step from {timestep}; the clock reads {_shorten(self.clock)}.") from None

    @cached_property
    def _rows(self) -> dict[float, tuple[Weights, float]]:
        return dict(zip(self.clock, zip(self.weights, self.noise_weights, strict=True), strict=True))


def _shorten(clock: tuple[float, ...]) -> str:
    return ", ".join(map(str, clock if len(clock) <= 12 else (*clock[:2], "...", clock[-1])))
