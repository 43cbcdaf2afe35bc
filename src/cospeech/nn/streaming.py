"""Networks that run on whole clips or chunk by chunk: one interface, sequences of such layers, a runner.

A streaming layer has ``init_state(batch_size)``, what it remembers before the first chunk, and ``step(x, state)``: the
output for the next chunk and the state that follows it. The state passed in is spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

__all__ = ["StreamingLayer", "StreamingSequence", "run_chunks"]

StateT = TypeVar("StateT")


@runtime_checkable
class StreamingLayer(Protocol[StateT]):
    """What can be run chunk by chunk."""

    def init_state(self, batch_size: int) -> StateT:
        """What is remembered before the first chunk."""

    def step(self, x: Tensor, state: StateT) -> tuple[Tensor, StateT]:
        """The output for the next chunk, and the state that follows it."""


class StreamingSequence(nn.Module):
    """Layers one after the other; those that are ``StreamingLayer`` keep their state, the others need none.

    Args:
        layers: Modules of one argument. A module without ``step`` must treat every frame alone.

    Example:
        >>> import torch
        >>> from cospeech.nn import CausalConv1d
        >>> network = StreamingSequence(CausalConv1d(4, 8, 3), nn.ReLU(), CausalConv1d(8, 2, 5)).eval()
        >>> clip = torch.randn(1, 4, 9)
        >>> chunks = run_chunks(network, clip.split([2, 3, 4], dim=-1))
        >>> torch.allclose(torch.cat(list(chunks), -1), network(clip), atol=1e-6)
        True
    """

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run a whole clip."""
        return self.step(x, self.init_state(x.shape[0]))[0]

    def init_state(self, batch_size: int) -> tuple[Any, ...]:
        """One state for each layer that keeps one."""
        return tuple(layer.init_state(batch_size) for layer in self.layers if isinstance(layer, StreamingLayer))

    def step(self, x: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Run the next chunk."""
        given, kept = iter(state), []
        for layer in self.layers:
            if isinstance(layer, StreamingLayer):
                x, follows = layer.step(x, next(given))
                kept.append(follows)
            else:
                x = layer(x)
        return x, tuple(kept)


def run_chunks(
    layer: StreamingLayer[StateT], chunks: Iterable[Tensor], state: StateT | None = None
) -> Iterator[Tensor]:
    """The outputs for consecutive chunks ``(B, ...)``, each as soon as its chunk is there.

    Args:
        layer: What to run.
        chunks: Consecutive pieces of one clip.
        state: Where to go on from; by default the start of a clip.
    """
    for chunk in chunks:
        state = layer.init_state(chunk.shape[0]) if state is None else state
        output, state = layer.step(chunk, state)
        yield output
