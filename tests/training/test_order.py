"""The order of items is a function of numbers alone."""

from __future__ import annotations

import itertools

import pytest

from cospeech.training.order import BatchOrder, ShardOrder, seeded


@pytest.mark.parametrize("num_items", [1, 5, 12, 37])
def test_every_item_comes_once_an_epoch_however_the_order_is_cut(num_items: int) -> None:
    whole = BatchOrder(num_items, num_items, seed=3)
    assert all(sorted(whole.items(epoch)) == list(range(num_items)) for epoch in range(4))
    cut = [BatchOrder(num_items, 1, 3, process, 3) for process in range(3)]
    seen = [item for number in range(num_items) for order in cut for item in order.items(number)]
    assert seen == [item for epoch in range(3) for item in whole.items(epoch)]


def test_seeds_and_epochs_differ() -> None:
    orders = [BatchOrder(37, 37, seed=seed).items(epoch) for seed in (3, 4) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    draws = {seeded(*numbers).initial_seed() for numbers in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]}
    assert len(draws) == 6


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_shards_are_visited_one_after_another_each_by_one_process(num_processes: int) -> None:
    sizes = (5, 3, 8, 4, 6, 7)
    shard_of = [shard for shard, size in enumerate(sizes) for _ in range(size)]
    orders = [ShardOrder(sizes, 2, 0, process, num_processes, 1) for process in range(num_processes)]
    shared = min(order._length(0) for order in orders)
    seen = [[item for number in range(shared // 2) for item in order.items(number)] for order in orders]
    assert len({item for items in seen for item in items}) == sum(len(items) for items in seen)
    for items in seen:
        visits = [shard_of[item] for item in items]
        changes = sum(a != b for a, b in itertools.pairwise(visits))
        assert changes == len(set(visits)) - 1  # never back to a shard that was left
    assert not {shard_of[i] for i in seen[0]} & {shard_of[i] for items in seen[1:] for i in items}


def test_epochs_of_shards_follow_each_other() -> None:
    order = ShardOrder((5, 3, 8), 3, seed=1)
    items = [item for number in range(16) for item in order.items(number)]
    for epoch in range(3):
        assert sorted(items[16 * epoch : 16 * (epoch + 1)]) == list(range(16))
    with pytest.raises(ValueError, match="a shard for each of 4 processes"):
        ShardOrder((5, 3, 8), 3, 1, 0, 4).items(0)
