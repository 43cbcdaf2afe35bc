"""Motion of any length from a network that completes masked windows, each beginning with the end of the one before.

Those first frames, the seed, are given to the network as visible. What the window before had there is dropped: the
newer window's version of its seed is what counts.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; the order of work is that of its published program.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MaskedWindow", "plan_masked_windows", "seed_masked_window"]


class MaskedWindow(NamedTuple):
    """Where a window lies.

    Attributes:
        start: Its first frame, counted from the start of the clip.
        num_frames: How many frames it has.
        num_kept: How many of them, from the first on, are put out.
    """

    start: int
    num_frames: int
    num_kept: int


def plan_masked_windows(
    num_frames: int, window_frames: int, seed_frames: int, *, strict_upstream: bool = False
) -> list[MaskedWindow]:
    """The windows of a clip: full ones, then a shorter one for the rest. Their kept frames make the clip.

    Args:
        num_frames: Length of the clip, more than the seed.
        window_frames: Frames of a full window.
        seed_frames: Frames that a window shares with the one before.
        strict_upstream: Whether to plan as the published program does, which loses up to ``2 * seed_frames`` frames at
            the end: a full last window's frames behind the next seed, and a rest no longer than a seed.

    Raises:
        ValueError: If the clip is too short, or the seed does not leave frames to fill.

    Example:
        >>> plan_masked_windows(66, window_frames=64, seed_frames=4)
        [MaskedWindow(start=0, num_frames=64, num_kept=60), MaskedWindow(start=60, num_frames=6, num_kept=6)]
        >>> plan_masked_windows(66, window_frames=64, seed_frames=4, strict_upstream=True)
        [MaskedWindow(start=0, num_frames=64, num_kept=60)]
    """
    if not 0 < seed_frames < window_frames:
        raise ValueError(f"`seed_frames` must be from 1 to {window_frames - 1}; got {seed_frames}.")
    least = 2 * seed_frames + 1 if strict_upstream else seed_frames + 1
    if num_frames < least:
        raise ValueError(f"`num_frames` must be at least {least}; got {num_frames}.")
    hop = window_frames - seed_frames
    num_full, rest = divmod(num_frames - seed_frames, hop)
    windows = [MaskedWindow(i * hop, window_frames, hop) for i in range(num_full)]
    if rest > (seed_frames if strict_upstream else 0):
        windows.append(MaskedWindow(num_full * hop, seed_frames + rest, seed_frames + rest))
    elif not strict_upstream:
        windows[-1] = windows[-1]._replace(num_kept=window_frames)
    return windows


def seed_masked_window(motion: Tensor, mask: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """A window that begins with the end of the one before.

    Args:
        motion: Hints of the window, ``(B, T, C)``.
        mask: True (or 1) where they are hidden, ``(B, T, C)``.
        seed: Last frames of the window before, ``(B, P, C)``.

    Returns:
        Motion and mask. In the first ``P`` frames the seed fills in what is hidden, and nothing is hidden any more.

    Example:
        >>> motion, mask = torch.zeros(1, 3, 1), torch.tensor([[[1], [0], [1]]])
        >>> motion, mask = seed_masked_window(motion, mask, torch.ones(1, 2, 1))
        >>> motion.flatten().tolist(), mask.flatten().tolist()
        ([1.0, 0.0, 0.0], [0, 0, 1])
    """
    count = seed.shape[1]
    head = torch.where(mask[:, :count] == 0, motion[:, :count], seed)
    visible = torch.zeros_like(mask[:, :count])
    return torch.cat([head, motion[:, count:]], dim=1), torch.cat([visible, mask[:, count:]], dim=1)
