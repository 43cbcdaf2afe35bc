"""Mean and spread of feature vectors, and what they make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.representations.layout import Layout

__all__ = ["FeatureStats"]


@dataclass(frozen=True, eq=False)
class FeatureStats:
    """Mean and standard deviation of each channel, float64.

    Attributes:
        mean: ``(C,)``.
        std: ``(C,)``, positive.

    Raises:
        ValueError: If the shapes differ, or a deviation is not positive.

    Example:
        >>> stats = FeatureStats(mean=torch.tensor([1.0, 2.0]), std=torch.tensor([0.5, 4.0]))
        >>> stats.normalize(torch.tensor([[2.0, 2.0]]))
        tensor([[2., 0.]])
        >>> stats.denormalize(torch.tensor([[2.0, 0.0]]))
        tensor([[2., 2.]], dtype=torch.float64)
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        check_shape("mean", self.mean, "C")
        check_shape("std", self.std, f"{len(self.mean)}")
        if not (self.std > 0).all():
            raise ValueError(f"`std` must be positive; the least is {float(self.std.min()):g}.")
        object.__setattr__(self, "mean", self.mean.double())
        object.__setattr__(self, "std", self.std.double())

    @classmethod
    def of(cls, clips: Sequence[Tensor], layout: Layout) -> FeatureStats:
        """Statistics of all frames of clips ``(T, C)``; the deviation of a channel is the mean over its part.

        With one deviation per part, the channels of a part keep their proportions.
        """
        frames = torch.cat([clip.double() for clip in clips])
        spread = frames.std(dim=0, correction=0)
        parts = layout.split(spread)
        std = layout.join({name: part.mean().expand_as(part) for name, part in parts.items()})
        return cls(frames.mean(dim=0), std)

    def normalize(self, features: Tensor) -> Tensor:
        """``(features - mean) / std`` for features ``(..., C)``, worked out in float64, float32 as networks want it."""
        return ((features.double() - self.mean) / self.std).float()

    def denormalize(self, features: Tensor) -> Tensor:
        """``features * std + mean``, float64, as published."""
        return features.double() * self.std + self.mean

    def to(self, device: torch.device | str) -> FeatureStats:
        """The same on another device."""
        return FeatureStats(self.mean.to(device), self.std.to(device))
