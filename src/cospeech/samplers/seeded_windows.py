"""Motion of any length from a network that knows windows: each is in-painted from the last frames of the one before.

Windows overlap. The last frames of a window are the seed of the next one, which begins by repeating them; where both
have frames they are blended. Windows are made one at a time, and all that is kept between them is the overlap, so
memory does not grow with the length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.samplers.denoise import Predict

__all__ = ["SeededWindows", "WindowState", "count_windows", "inpaint_seed"]

Inputs = TypeVar("Inputs")


def count_windows(num_frames: int, window_frames: int, overlap_frames: int) -> int:
    """How many windows cover a clip; at least one, and the last may reach beyond its end.

    Example:
        >>> [count_windows(num_frames, 60, 8) for num_frames in (1, 60, 61, 112, 113)]
        [1, 1, 2, 2, 3]
    """
    if not 1 <= overlap_frames < window_frames:
        raise ValueError(f"`overlap_frames` must be from 1 to {window_frames - 1}; got {overlap_frames}.")
    return max(1, -(-(num_frames - overlap_frames) // (window_frames - overlap_frames)))


def inpaint_seed(predict: Predict, seed: Tensor, *, weight: float = 0.5) -> Predict:
    """The network, whose clean prediction is drawn towards known frames after each call.

    Args:
        predict: Predicts clean windows ``(B, T, C)``.
        seed: What the first frames should be, ``(B, F, C)``.
        weight: 1 puts the seed in place of the prediction, 0 leaves the prediction.

    Example:
        >>> inpainting = inpaint_seed(lambda noisy, time: torch.ones(1, 3, 1), torch.zeros(1, 2, 1))
        >>> inpainting(torch.zeros(1, 3, 1), 0.0).flatten()
        tensor([0.5000, 0.5000, 1.0000])
    """
    num_frames = seed.shape[1]

    def inpainting(noisy: Tensor, timestep: float) -> Tensor:
        clean = predict(noisy, timestep)
        return torch.cat([torch.lerp(clean[:, :num_frames], seed, weight), clean[:, num_frames:]], dim=1)

    return inpainting


class WindowState(NamedTuple):
    """What is kept between windows.

    Attributes:
        tail: Last frames of the window before, as they left the sampler, ``(B, overlap, C)``: the seed of the next.
        held: Whether these frames are still to be put out, blended with the next window's. Not so before the first.
    """

    tail: Tensor
    held: bool


class SeededWindows(Generic[Inputs]):
    """Sample windows in order and join them.

    Args:
        sample: Makes one window ``(B, T, C)`` from its inputs and the seed ``(B, overlap, C)``. The first seed is
            what ``init_state`` is given and may have fewer channels.
        overlap_frames: Frames that a window shares with the next; the length of the seed.
        later_weights: Weight of the later window in each of the shared frames, ``(overlap,)``. By default it rises in
            equal steps, so that no frame jumps.

    Raises:
        ValueError: If there is no overlap, or the weights are not one per shared frame.

    Example:
        >>> def count_on(num_frames, seed):
        ...     return seed[:, :1] + torch.arange(float(num_frames))[:, None]
        >>> windows = SeededWindows(count_on, overlap_frames=2)
        >>> start = torch.tensor([[[0.0], [1.0]]])
        >>> [frames.flatten().tolist() for frames in windows.run([5, 5], start)]
        [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0]]
    """

    def __init__(
        self, sample: Callable[[Inputs, Tensor], Tensor], *, overlap_frames: int, later_weights: Tensor | None = None
    ):
        if overlap_frames < 1:
            raise ValueError(f"`overlap_frames` must be at least 1; got {overlap_frames}.")
        if later_weights is None:
            later_weights = torch.arange(1, overlap_frames + 1) / (overlap_frames + 1)
        check_shape("later_weights", later_weights, str(overlap_frames))
        self.sample = sample
        self.overlap_frames = overlap_frames
        self.later_weights = later_weights

    def init_state(self, seed: Tensor) -> WindowState:
        """Before the first window, which begins in the pose of ``seed``: ``(B, overlap, C)``.

        Raises:
            ValueError: If the seed is not as long as the overlap.
        """
        check_shape("seed", seed, f"B {self.overlap_frames} C")
        return WindowState(seed, held=False)

    def step(self, inputs: Inputs, state: WindowState) -> tuple[Tensor, WindowState]:
        """Sample the next window.

        Returns:
            The frames ``(B, T - overlap, C)`` that are now final, and the state that follows them.

        Raises:
            ValueError: If the window is shorter than two overlaps, one shared with each neighbour.
        """
        window, overlap = self.sample(inputs, state.tail), self.overlap_frames
        if window.shape[1] < 2 * overlap:
            raise ValueError(f"A window must hold at least {2 * overlap} frames, two overlaps; got {window.shape[1]}.")
        final, tail = window[:, :-overlap], window[:, -overlap:]
        if state.held:
            weights = self.later_weights.to(window)[:, None]
            head = torch.lerp(state.tail, window[:, :overlap], weights)
            final = torch.cat([head, window[:, overlap:]], dim=1)[:, :-overlap]
        return final, WindowState(tail.clone(), held=True)

    def flush(self, state: WindowState) -> Tensor:
        """The frames ``(B, overlap, C)`` after the last window; none, ``(B, 0, C)``, if there was no window."""
        return state.tail if state.held else state.tail[:, :0]

    def run(self, inputs: Iterable[Inputs], seed: Tensor) -> Iterator[Tensor]:
        """All windows, one at a time: what each ``step`` gives, then ``flush``."""
        state = self.init_state(seed)
        for item in inputs:
            frames, state = self.step(item, state)
            yield frames
        yield self.flush(state)
