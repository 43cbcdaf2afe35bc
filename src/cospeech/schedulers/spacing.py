"""Which timesteps a sampler visits: rules that pick a few of many, ascending, and the walk that jumps back."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "jump_walk",
    "leading_spacing",
    "linspace_spacing",
    "section_spacing",
    "strided_spacing",
    "trailing_spacing",
]


def leading_spacing(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Every ``num_timesteps // num_steps``-th timestep from 0; the noisiest ones may be left out.

    Example:
        >>> leading_spacing(1000, 4)
        (0, 250, 500, 750)
    """
    _check_counts(num_timesteps, num_steps)
    return tuple(range(0, num_timesteps, num_timesteps // num_steps)[:num_steps])


def trailing_spacing(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Equal steps down from the noisiest timestep, which is always visited; 0 may be left out.

    Example:
        >>> trailing_spacing(1000, 4)
        (249, 499, 749, 999)
    """
    _check_counts(num_timesteps, num_steps)
    return tuple(round(i * num_timesteps / num_steps) - 1 for i in range(1, num_steps + 1))


def linspace_spacing(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Timesteps in equal steps from 0 to the noisiest, both included.

    Example:
        >>> linspace_spacing(1000, 4)
        (0, 333, 666, 999)
    """
    return section_spacing(num_timesteps, (num_steps,))


def strided_spacing(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Every n-th timestep from 0, for the smallest n that picks ``num_steps``: "ddim25" in published programs.

    Raises:
        ValueError: If no whole stride does.

    Example:
        >>> strided_spacing(1000, 3)
        (0, 334, 668)
        >>> strided_spacing(10, 6)
        Traceback (most recent call last):
        ValueError: No whole stride picks 6 of 10 timesteps.
    """
    _check_counts(num_timesteps, num_steps)
    stride = -(-num_timesteps // num_steps)
    picked = tuple(range(0, num_timesteps, stride))
    if len(picked) != num_steps:
        raise ValueError(f"No whole stride picks {num_steps} of {num_timesteps} timesteps.")
    return picked


def section_spacing(num_timesteps: int, counts: Sequence[int]) -> tuple[int, ...]:
    """Cuts the timesteps into equal sections and picks the given number from each, its first and last included.

    Args:
        num_timesteps: Timesteps in all; the first sections are one longer where they do not divide.
        counts: How many to take from each section, the least noisy one first.

    Reference:
        Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021 (the program).

    Example:
        >>> section_spacing(10, [3, 2])
        (0, 2, 4, 5, 9)
    """
    if not counts:
        raise ValueError("`counts` must name at least one section; got none.")
    size, longer = divmod(num_timesteps, len(counts))
    picked: list[int] = []
    start = 0
    for section, count in enumerate(counts):
        length = size + (section < longer)
        _check_counts(length, count)
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # The published rule adds the stride up, so ties in rounding fall as its running sum has them.
        position = 0.0
        for _ in range(count):
            picked.append(start + round(position))
            position += stride
        start += length
    return tuple(picked)


def jump_walk(num_levels: int, *, jump_length: int, num_visits: int) -> tuple[int, ...]:
    """Levels in the order of a walk which jumps back up, so that in-painted and sampled parts get to agree.

    Each pair of neighbours is one move: to a lower level by denoising, to a higher one by adding noise again. After
    every ``jump_length`` levels down the walk goes ``jump_length`` up, until it has come down there ``num_visits``
    times.

    Args:
        num_levels: The walk starts at level ``num_levels - 1``.
        jump_length: Levels in a jump. 1 with ``num_visits=1`` is the plain way down.
        num_visits: How often each stretch is walked down.

    Returns:
        Levels, of which the last, -1, stands for the clean sample.

    Reference:
        Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR 2022, appendix.

    Example:
        >>> jump_walk(5, jump_length=2, num_visits=2)
        (4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1)
    """
    if min(num_levels, jump_length, num_visits) < 1:
        raise ValueError(
            "`num_levels`, `jump_length` and `num_visits` must be at least 1; "
            f"got {num_levels}, {jump_length} and {num_visits}."
        )
    jumps_left = dict.fromkeys(range(0, num_levels - jump_length, jump_length), num_visits - 1)
    level, walk = num_levels, []
    while level >= 1:
        level -= 1
        walk.append(level)
        if jumps_left.get(level, 0) > 0:
            jumps_left[level] -= 1
            walk += range(level + 1, level + jump_length + 1)
            level += jump_length
    return (*walk, -1)


def _check_counts(num_timesteps: int, num_steps: int) -> None:
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"The number of steps must be from 1 to the {num_timesteps} timesteps; got {num_steps}.")
