"""Sums that grow with every clip and add up over shards and processes, in float64.

Each accumulator has ``update`` (take one clip or batch in), ``compute`` (the value so far), ``merge`` (take another
accumulator in) and ``reset``. Moments are merged by the rule of Chan et al., so however a set is cut, the result is
the same to about 1e-12, and no features need to be kept.

Reference:
    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar
from typing import Protocol as Interface

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.metrics.frechet import EXACT_FRECHET, FrechetRule, frechet_distance_of_moments

__all__ = ["FrechetAccumulator", "Gaussian", "MeanAccumulator", "Moments", "merge_processes"]


class Gaussian(NamedTuple):
    """Mean ``(C)`` and covariance ``(C, C)`` over ``N - 1``, float64."""

    mean: Tensor
    covariance: Tensor


class Moments:
    """Number, mean and scatter of features.

    Example:
        >>> whole, half = Moments(), Moments()
        >>> features = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
        >>> whole.update(features[:4]), half.update(features[4:]), whole.merge(half)
        (None, None, None)
        >>> torch.allclose(whole.compute().covariance, features.double().T.cov())
        True
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.count = 0
        self.mean: Tensor | None = None
        self.scatter: Tensor | None = None

    def update(self, features: Tensor) -> None:
        """Take ``(N, C)`` in.

        Raises:
            ValueError: If the shape does not fit, or a number is not finite: nothing is taken in then.
        """
        check_shape("features", features, "N C" if self.mean is None else f"N {len(self.mean)}")
        if not len(features):
            return
        x = features.detach().double()
        mean = x.mean(0)
        if not bool(mean.isfinite().all()):
            raise ValueError("`features` must be finite; got NaN or infinity.")
        x = x - mean
        self._add(len(x), mean, x.T @ x)

    def merge(self, other: Moments) -> None:
        """Take in what ``other`` has seen."""
        if other.mean is not None and other.scatter is not None:
            if self.mean is not None:
                check_shape("other.mean", other.mean, f"{len(self.mean)}")
            self._add(other.count, other.mean, other.scatter)

    def compute(self) -> Gaussian:
        """Mean and unbiased covariance.

        Raises:
            ValueError: If fewer than two features were seen.
        """
        if self.mean is None or self.scatter is None or self.count < 2:
            raise ValueError(f"Moments need 2 features at least; got {self.count}.")
        return Gaussian(self.mean, self.scatter / (self.count - 1))

    def _add(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        if self.mean is None or self.scatter is None:
            self.count, self.mean, self.scatter = count, mean.clone(), scatter.clone()
            return
        total = self.count + count
        gap = mean.to(self.mean) - self.mean
        self.mean = self.mean + gap * (count / total)
        self.scatter = self.scatter + scatter.to(self.scatter) + torch.outer(gap, gap) * (self.count * count / total)
        self.count = total


class FrechetAccumulator:
    """Fréchet distance of two growing sets of features, from their moments.

    Args:
        rule: Which published value; by default the exact one.

    Example:
        >>> distance = FrechetAccumulator()
        >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> for part in features.split(30):
        ...     distance.update(part, part + 0.5)
        >>> round(distance.compute(), 6)  # 4 times 0.5 squared
        1.0
    """

    def __init__(self, rule: FrechetRule = EXACT_FRECHET):
        self.rule = rule
        self.generated, self.reference = Moments(), Moments()

    def reset(self) -> None:
        """Forget everything."""
        self.generated.reset()
        self.reference.reset()

    def update(self, generated: Tensor, reference: Tensor) -> None:
        """Take in generated features ``(N, C)`` and reference features ``(M, C)``; either may be empty."""
        self.generated.update(generated)
        self.reference.update(reference)

    def merge(self, other: FrechetAccumulator) -> None:
        """Take in what ``other`` has seen."""
        self.generated.merge(other.generated)
        self.reference.merge(other.reference)

    def compute(self) -> float:
        """The distance of all that was seen."""
        generated, reference = self.generated.compute(), self.reference.compute()
        return float(frechet_distance_of_moments(*generated, *reference, rule=self.rule))


class MeanAccumulator:
    """Weighted mean of values, of any shape: clips weighted by their frames, for example.

    Example:
        >>> mean = MeanAccumulator()
        >>> mean.update(1.0, weight=30), mean.update(4.0, weight=60)
        (None, None)
        >>> float(mean.compute())
        3.0
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.total: Tensor | None = None
        self.weight = 0.0

    def update(self, value: Tensor | float, weight: float = 1.0) -> None:
        """Take one value in; those that follow have its shape.

        Raises:
            ValueError: If the shape changes, or the weight is negative.
        """
        if not weight >= 0:
            raise ValueError(f"`weight` must not be negative; got {weight}.")
        value = torch.as_tensor(value).detach().double()
        if self.total is not None and self.total.shape != value.shape:
            raise ValueError(f"`value` must have shape {tuple(self.total.shape)}; got {tuple(value.shape)}.")
        self._add(value * weight, float(weight))

    def merge(self, other: MeanAccumulator) -> None:
        """Take in what ``other`` has seen."""
        if other.total is not None:
            self._add(other.total, other.weight)

    def compute(self) -> Tensor:
        """The mean, float64.

        Raises:
            ValueError: If nothing with a positive weight was seen.
        """
        if self.total is None or self.weight == 0:
            raise ValueError("A mean needs one value at least; got none.")
        return self.total / self.weight

    def _add(self, total: Tensor, weight: float) -> None:
        self.total = total.clone() if self.total is None else self.total + total.to(self.total)
        self.weight += weight


class Accumulator(Interface):
    """What can be merged."""

    def merge(self, other: Any) -> None:
        """Take in what ``other`` has seen."""


AccumulatorT = TypeVar("AccumulatorT", bound=Accumulator)


def merge_processes(accumulator: AccumulatorT) -> AccumulatorT:
    """Add up the accumulators of all processes of ``torch.distributed``, in the order of their ranks.

    Args:
        accumulator: This process's, left as it is.

    Returns:
        The sum, the same in every process; ``accumulator`` itself where no process group is running.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return accumulator
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, accumulator)
    total: AccumulatorT = parts[0]
    for part in parts[1:]:
        total.merge(part)
    return total
