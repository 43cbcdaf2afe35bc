"""The loop that draws one piece after the other, each from all before it, and the rule by which it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["autoregress", "is_end_latent"]

StateT = TypeVar("StateT")


def autoregress(
    sample: Callable[[StateT], Tensor],
    extend: Callable[[StateT, Tensor], StateT],
    state: StateT,
    *,
    max_pieces: int,
    stop: Callable[[Tensor], bool] | None = None,
) -> Generator[Tensor, None, StateT]:
    """Draw pieces until the rule says stop.

    A piece goes out before the state is made ready for the next, so who waits for it waits less.

    Args:
        sample: Draws the next piece from a state.
        extend: The state after a piece.
        state: Before the first piece.
        max_pieces: At most so many.
        stop: Whether a piece says that the end was reached before it; it is then dropped.

    Yields:
        The pieces.

    Returns:
        The state after the last piece (of ``yield from``), from which one may go on.

    Example:
        >>> pieces = autoregress(torch.tensor, lambda n, _: n + 1, 0, max_pieces=9, stop=lambda piece: piece > 2)
        >>> [int(piece) for piece in pieces]
        [0, 1, 2]
    """
    for _ in range(max_pieces):
        piece = sample(state)
        if stop is not None and stop(piece):
            break
        yield piece
        state = extend(state, piece)
    return state


def is_end_latent(latent: Tensor, end_latent: Tensor, *, threshold: float = 0.1) -> Tensor:
    """Whether each latent is closer to the end latent than a threshold.

    Args:
        latent: ``(B, C)``.
        end_latent: What the network was trained to say behind the end of a clip, ``(C,)``.
        threshold: Euclidean distance; 0.1 in the published text-to-motion program.

    Returns:
        bool, ``(B,)``.
    """
    close: Tensor = torch.linalg.vector_norm(latent - end_latent, dim=-1) < threshold
    return close
