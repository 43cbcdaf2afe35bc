"""The order of items is a function of numbers alone."""

from __future__ import annotations

import pytest

from cospeech.training.order import BatchOrder, seeded


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
