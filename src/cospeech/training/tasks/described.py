"""Captions by rule for motion that has none: where the hands are, how they move, where the body leans.

They make a small training of texts and motions possible on any recording, and say no more than is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.representations import STREAMER_LAYOUT
from cospeech.skeleton import SMPL22

__all__ = ["Describer"]

_HEIGHTS, _SPEEDS, _LEANS = ("low", "halfway", "high"), ("still", "calm", "lively"), ("right", "nowhere", "left")
_HEAD, _LEFT, _RIGHT = (SMPL22.index(name) for name in ("head", "left_wrist", "right_wrist"))


class Describer:
    """Clips of 272 features to captions; a word stands for a third of the clips that it was made from.

    Args:
        clips: Features that are not normalised, ``(T, 272)`` each.
    """

    def __init__(self, clips: Sequence[Tensor]):
        measured = torch.stack([_measure(clip) for clip in clips])
        self._thirds = torch.quantile(measured, torch.tensor([1 / 3, 2 / 3]), dim=0).T.contiguous()

    def __call__(self, clip: Tensor) -> str:
        """Such as "the left hand is high and still, the right hand is low and lively, the body leans nowhere"."""
        places = torch.searchsorted(self._thirds, _measure(clip)[:, None])[:, 0].tolist()
        left, right = (f"{_HEIGHTS[places[side]]} and {_SPEEDS[places[2 + side]]}" for side in (0, 1))
        return f"the left hand is {left}, the right hand is {right}, the body leans {_LEANS[places[4]]}"


def _measure(clip: Tensor) -> Tensor:
    """Heights and speeds of both wrists, and how far the head is to the left of the root; means over the clip."""
    check_shape("clip", clip, f"T {STREAMER_LAYOUT.dim}")
    parts = STREAMER_LAYOUT.split(clip)
    positions, velocities = (parts[name].reshape(len(clip), -1, 3) for name in ("positions", "velocities"))
    wrists = [_LEFT, _RIGHT]
    heights = (positions[:, wrists, 1] - positions[:, :1, 1]).mean(0)
    speeds = velocities[:, wrists].norm(dim=-1).mean(0)
    return torch.cat([heights, speeds, positions[:, _HEAD, 0].mean(0, keepdim=True)])
