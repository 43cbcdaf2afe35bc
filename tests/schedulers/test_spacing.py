from __future__ import annotations

from itertools import pairwise

import diffusers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.schedulers import (
    jump_walk,
    leading_spacing,
    linspace_spacing,
    section_spacing,
    strided_spacing,
    trailing_spacing,
)

counts = st.integers(1, 300).flatmap(lambda total: st.tuples(st.just(total), st.integers(1, total)))


@given(counts)
@settings(deadline=None, max_examples=200)
@pytest.mark.parametrize("rule", [leading_spacing, linspace_spacing, trailing_spacing])
def test_picks_that_many_ascending_and_in_range(rule, total_and_count):
    total, count = total_and_count
    picked = rule(total, count)
    assert len(picked) == count
    assert all(here < there for here, there in pairwise(picked))
    assert picked[0] >= 0
    assert picked[-1] < total


@pytest.mark.parametrize(
    ("rule", "name"), [(leading_spacing, "leading"), (linspace_spacing, "linspace"), (trailing_spacing, "trailing")]
)
@pytest.mark.parametrize("count", [1, 7, 20, 25, 50, 1000])
def test_equal_those_of_diffusers(rule, name, count):
    scheduler = diffusers.DDIMScheduler(1000, timestep_spacing=name)
    scheduler.set_timesteps(count)
    assert list(rule(1000, count)) == scheduler.timesteps.tolist()[::-1]


def test_sections_cover_the_whole():
    assert section_spacing(7, (7,)) == tuple(range(7))
    assert section_spacing(7, (2, 2, 2)) == (0, 2, 3, 4, 5, 6)  # the first section is one longer


def test_strides_that_do_not_exist():
    assert strided_spacing(1000, 34) == tuple(range(0, 1000, 30))
    with pytest.raises(ValueError, match="No whole stride picks 999 of 1000"):
        strided_spacing(1000, 999)


@pytest.mark.parametrize("rule", [leading_spacing, linspace_spacing, strided_spacing, trailing_spacing])
def test_count_out_of_range(rule):
    with pytest.raises(ValueError, match=r"from 1 to the 10 timesteps; got 11"):
        rule(10, 11)
    with pytest.raises(ValueError, match=r"from 1 to the 10 timesteps; got 0"):
        rule(10, 0)


def test_no_sections():
    with pytest.raises(ValueError, match="at least one section"):
        section_spacing(10, ())


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_walk_moves_one_level_at_a_time_and_ends_clean(num_levels, jump_length, num_visits):
    walk = jump_walk(num_levels, jump_length=jump_length, num_visits=num_visits)
    assert (walk[0], walk[-1]) == (num_levels - 1, -1)
    assert all(abs(here - there) == 1 for here, there in pairwise(walk))
    assert set(range(num_levels)) <= set(walk)
    assert max(walk) == num_levels - 1


def test_walk_without_jumps_is_the_plain_way_down():
    assert jump_walk(4, jump_length=1, num_visits=1) == (3, 2, 1, 0, -1)


def test_walk_of_nothing():
    with pytest.raises(ValueError, match="must be at least 1; got 0, 1 and 1"):
        jump_walk(0, jump_length=1, num_visits=1)
