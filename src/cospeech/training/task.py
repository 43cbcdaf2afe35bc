"""What is trained, as the loop sees it: networks, batches by number, terms of a loss, and how the result is shown."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cospeech.hub import save_model
from cospeech.motion import Motion

__all__ = ["Clock", "Terms", "TrainingTask", "terms"]

Terms = Mapping[str, Tensor]
"""Scalars by name; ``total`` is minimised, the others are told."""


class Clock(NamedTuple):
    """When a pass happens, and what it may draw from.

    Attributes:
        step: Of the optimizer, from 0.
        total_steps: Of the whole training.
        epoch: How often each item has been seen, a fraction.
        generator: On the CPU; its seed follows from seed, step, pass and process, so no draw depends on the past.
    """

    step: int
    total_steps: int
    epoch: float
    generator: torch.Generator


class TrainingTask(ABC):
    """The interface between ``cospeech.training.train`` and a system.

    Attributes:
        model: What is trained; frozen networks stay outside of it.
        num_items: Windows or clips to learn from.
        num_held_out: Windows or clips to judge by.
        shard_sizes: Of items that lie in shards far away, how many each holds: shards are then visited one after
            another. () has all items at hand.
        item_weights: How likely items are to be drawn, ``(num_items,)``, in an order that draws them with repetition;
            None has each of them once an epoch.

    Example:
        >>> class Line(TrainingTask):
        ...     def __init__(self):
        ...         self.model, self.num_items, self.num_held_out = nn.Linear(1, 1), 100, 0
        ...     def batch(self, items, generator):
        ...         return torch.tensor(items)[:, None] / 100
        ...     def losses(self, model, batch, clock):
        ...         return {"total": (model(batch) - 2 * batch).square().mean()}
        >>> Line().losses(nn.Identity(), torch.ones(4, 1), Clock(0, 1, 0.0, torch.Generator()))
        {'total': tensor(1.)}
    """

    model: nn.Module
    num_items: int
    num_held_out: int
    shard_sizes: tuple[int, ...] = ()
    item_weights: Tensor | None = None

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The modules that ``losses`` calls: these run in mixed precision and are compiled. ``model`` by default."""
        return (self.model,)

    @abstractmethod
    def batch(self, items: Sequence[int], generator: torch.Generator) -> Any:
        """Training items by their numbers, stacked on the CPU; may run in another process.

        Args:
            items: Below ``num_items``; held-out ones are counted from ``num_items`` on.
            generator: For augmentation.
        """

    @abstractmethod
    def losses(self, model: nn.Module, batch: Any, clock: Clock) -> Terms:
        """The terms of one pass; every call of the trained network happens in here."""

    def measure(self, model: nn.Module, batch: Any, clock: Clock) -> Terms:
        """What is told of held-out items, ``model`` in evaluation mode; the losses by default."""
        return self.losses(model, batch, clock)

    def sample(self, number: int, generator: torch.Generator) -> Motion | None:
        """A clip that the model makes for held-out item ``number``, beside nothing; None where it makes no motion."""
        return None

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the finished model."""
        save_model(self.model, Path(folder))


class _Summed(Protocol):
    @property
    def total(self) -> Tensor: ...

    def _asdict(self) -> dict[str, Any]: ...


def terms(losses: _Summed) -> dict[str, Tensor]:
    """The terms of a published loss and their total, by name."""
    return {**losses._asdict(), "total": losses.total}
