"""Which items make which batch: a function of the seed and of the batch's number, so there is no position to keep.

Each epoch is a permutation of all items, or as many draws of them by weight, and epochs follow each other without a
gap: a batch may straddle two. The batch of ``num_processes`` processes is one run of that order, cut into one piece for
each. So two processes see what one process with batches twice as large would see, and a resumed training sees what it
would have seen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cospeech.training.task import TrainingTask

__all__ = ["BatchOrder", "NumberedBatches", "ShardOrder", "seeded"]


class BatchOrder(NamedTuple):
    """The order of items.

    Attributes:
        num_items: How many there are.
        batch_size: Of one process.
        seed: Of the permutations.
        process: Number of this process.
        num_processes: How many there are.
        weights: How likely items are to be drawn, ``(num_items,)``; an epoch then holds an item never, once or more
            often. None has each of them once.

    Example:
        >>> whole = BatchOrder(10, 4, seed=0)
        >>> halves = [BatchOrder(10, 2, 0, process, 2) for process in range(2)]
        >>> all(whole.items(n) == halves[0].items(n) + halves[1].items(n) for n in range(20))
        True
    """

    num_items: int
    batch_size: int
    seed: int
    process: int = 0
    num_processes: int = 1
    weights: Tensor | None = None

    def items(self, number: int) -> list[int]:
        """The items of this process's batch ``number``, from 0."""
        first = (number * self.num_processes + self.process) * self.batch_size
        places = range(first, first + self.batch_size)
        return [int(self._epoch(at // self.num_items)[at % self.num_items]) for at in places]

    def epoch(self, number: int) -> float:
        """How often each item has been seen before batch ``number``."""
        return number * self.num_processes * self.batch_size / self.num_items

    def _epoch(self, epoch: int) -> Tensor:
        if self.weights is None:
            return _permutation(self.num_items, self.seed, epoch)
        return _weighted_draws(self.weights, self.seed, epoch)


class ShardOrder(NamedTuple):
    """An order that visits one shard after another, each process its own: for shards that are far away.

    Shards are shuffled each epoch and dealt to the processes in turn; a process shuffles the windows of its shards
    within ``mixed`` of them. An epoch ends when the process with the fewest windows has seen them all.

    Attributes:
        shard_sizes: Windows of each shard, whose numbers follow each other.
        batch_size: Of one process.
        seed: Of the permutations.
        process: Number of this process.
        num_processes: How many there are; at most as many as shards.
        mixed: Shards that are shuffled together.
    """

    shard_sizes: tuple[int, ...]
    batch_size: int
    seed: int
    process: int = 0
    num_processes: int = 1
    mixed: int = 2

    @property
    def num_items(self) -> int:
        """Windows of all shards."""
        return sum(self.shard_sizes)

    def items(self, number: int) -> list[int]:
        """The windows of this process's batch ``number``, from 0."""
        found: list[int] = []
        epoch, skip = 0, number * self.batch_size
        while len(found) < self.batch_size:
            length = self._length(epoch)
            if skip < length:
                found += _windows_of(self, epoch)[skip : min(skip + self.batch_size - len(found), length)]
            epoch, skip = epoch + 1, max(0, skip - length)
        return found

    def epoch(self, number: int) -> float:
        """How often each window has been seen before batch ``number``, nearly."""
        return number * self.num_processes * self.batch_size / self.num_items

    def _shards(self, epoch: int, process: int) -> list[int]:
        shuffled: list[int] = _permutation(len(self.shard_sizes), self.seed, epoch).tolist()
        return shuffled[process :: self.num_processes]

    def _length(self, epoch: int) -> int:
        sizes = [sum(self.shard_sizes[s] for s in self._shards(epoch, p)) for p in range(self.num_processes)]
        if min(sizes) == 0:
            raise ValueError(
                f"There must be a shard for each of {self.num_processes} processes; got {len(self.shard_sizes)}."
            )
        return min(sizes)


class NumberedBatches(Dataset[Any]):
    """The batches of a task, by their numbers, for ``torch.utils.data.DataLoader``."""

    def __init__(self, task: TrainingTask, order: BatchOrder | ShardOrder):
        if order.num_items < 1:
            raise ValueError("There is nothing to learn from: the task has no items. Look at the data's report.")
        if task.item_weights is not None:
            if isinstance(order, ShardOrder):
                raise ValueError("`item_weights` must be None for shards that are visited one after another.")
            if task.item_weights.shape != (order.num_items,):
                found = tuple(task.item_weights.shape)
                raise ValueError(
                    f"`item_weights` must have shape ({order.num_items},), one for each item; got {found}."
                )
        self.task, self.order = task, order

    def __getitem__(self, number: int) -> Any:
        generator = seeded(self.order.seed, number, self.order.process)
        return self.task.batch(self.order.items(number), generator)


def seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU whose draws follow from all the numbers."""
    state = 0
    for number in numbers:  # splitmix64: neighbouring numbers give unrelated seeds
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return torch.Generator().manual_seed(state % 2**63)


@lru_cache(maxsize=2)
def _windows_of(order: ShardOrder, epoch: int) -> list[int]:
    """The windows of one epoch of one process, shuffled within a few shards."""
    starts = [sum(order.shard_sizes[:shard]) for shard in range(len(order.shard_sizes))]
    shards, windows = order._shards(epoch, order.process), list[int]()
    for first in range(0, len(shards), order.mixed):
        group = [starts[s] + i for s in shards[first : first + order.mixed] for i in range(order.shard_sizes[s])]
        shuffled = torch.randperm(len(group), generator=seeded(order.seed, epoch, order.process, first))
        windows += [group[i] for i in shuffled.tolist()]
    return windows


@lru_cache(maxsize=2)
def _permutation(num_items: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(num_items, generator=seeded(seed, epoch))


@lru_cache(maxsize=2)  # a tensor is known by its identity
def _weighted_draws(weights: Tensor, seed: int, epoch: int) -> Tensor:
    return torch.multinomial(weights, len(weights), replacement=True, generator=seeded(seed, epoch))
