"""What a network may predict (noise, clean sample, velocity), and each from each.

All samplers here move on straight mixtures: ``noisy = signal * clean + sigma * noise``. Along the way the mixture has
a velocity, ``signal_rate * clean + sigma_rate * noise``. Noise, clean and velocity are thus all weighed sums of clean
and noise; a prediction together with the noisy sample gives two equations for the two of them, and every other
quantity is again a weighed sum of the noisy sample and the prediction. The weights are floats, worked out in float64
once per table, so that a step costs one or two passes over the data whatever is predicted.

| | signal | sigma | velocity |
| --- | --- | --- | --- |
| diffusion | sqrt(abar) | sqrt(1 - abar) | signal * noise - sigma * clean |
| flow | time | 1 - (1 - sigma_min) * time | clean - (1 - sigma_min) * noise |

Reference:
    Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, appendix D.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["Mixture", "Prediction", "Weights", "convert_prediction", "weigh"]

Prediction = Literal["noise", "clean", "velocity"]


class Weights(NamedTuple):
    """``noisy * self.noisy + prediction * self.prediction``."""

    noisy: float
    prediction: float


class Mixture(NamedTuple):
    """One point on the way between noise and clean.

    Attributes:
        signal: Share of the clean sample.
        sigma: Share of the noise.
        signal_rate: Share of the clean sample in the velocity.
        sigma_rate: Share of the noise in the velocity.
    """

    signal: float
    sigma: float
    signal_rate: float
    sigma_rate: float

    def weights(self, source: Prediction, target: Prediction) -> Weights:
        """How noisy sample and prediction of kind ``source`` make up ``target``.

        Raises:
            ValueError: If the target does not follow here, such as the clean sample from the noise where nothing but
                noise is left.
        """
        if source == target:
            return Weights(0.0, 1.0)
        return self.weights_of(source, *self._shares(target))

    def weights_of(self, source: Prediction, signal: float, sigma: float) -> Weights:
        """How noisy sample and prediction make up ``signal * clean + sigma * noise``; see ``weights``."""
        a, b = self._shares(source)
        determinant = self.signal * b - self.sigma * a
        if determinant == 0:
            raise ValueError(
                f"The {source} prediction at signal {self.signal:g} and sigma {self.sigma:g} repeats the noisy sample; "
                "start or end elsewhere, or predict something else."
            )
        return Weights(
            (signal * b - sigma * a) / determinant, (sigma * self.signal - signal * self.sigma) / determinant
        )

    def _shares(self, kind: Prediction) -> tuple[float, float]:
        shares = {"clean": (1.0, 0.0), "noise": (0.0, 1.0), "velocity": (self.signal_rate, self.sigma_rate)}
        if kind not in shares:
            raise ValueError(f"Unknown prediction {kind!r}; choose from noise, clean, velocity.")
        return shares[kind]


def convert_prediction(
    prediction: Tensor, noisy: Tensor, mixture: Mixture, *, source: Prediction, target: Prediction
) -> Tensor:
    """One prediction as another.

    Args:
        prediction: What a network predicts, any shape.
        noisy: What it was shown, same shape.
        mixture: Where on the way ``noisy`` lies.
        source: What ``prediction`` is.
        target: What is wanted.

    Raises:
        ValueError: See ``Mixture.weights``.

    Example:
        >>> clean, noise, here = torch.tensor(2.0), torch.tensor(-1.0), Mixture(0.8, 0.6, -0.6, 0.8)
        >>> noisy = here.signal * clean + here.sigma * noise
        >>> convert_prediction(noise, noisy, here, source="noise", target="clean")
        tensor(2.)
    """
    return weigh(noisy, prediction, mixture.weights(source, target))


def weigh(noisy: Tensor, prediction: Tensor, weights: Weights, *, out: Tensor | None = None) -> Tensor:
    """``noisy * weights.noisy + prediction * weights.prediction`` in as few passes over memory as there are.

    Args:
        noisy: Any shape.
        prediction: Same shape.
        weights: Of both in the result.
        out: Memory for the result, such as ``noisy``; not ``prediction``. By default new memory is taken.
    """
    of_noisy, of_prediction = weights
    if of_noisy == 1:
        return torch.add(noisy, prediction, alpha=of_prediction, out=out)
    if of_noisy == 0:
        return torch.mul(prediction, of_prediction, out=out)
    return torch.mul(noisy, of_noisy, out=out).add_(prediction, alpha=of_prediction)
