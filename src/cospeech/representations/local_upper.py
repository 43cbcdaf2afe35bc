"""CaMN's and DisCo's features: local rotations of upper body and hands, and how they become whole clips.

258 channels: the first two rows of the local rotation matrices of 43 joints, upper body then hands, at 15 frames per
second. All other joints hold still.

Reference:
    Liu et al., "BEAT: A Large-Scale Semantic and Emotional Multi-Modal Dataset for Conversational Gestures Synthesis",
    ECCV 2022; Liu et al., "DisCo: Disentangled Implicit Content and Rhythm Learning for Diverse Co-Speech Gestures
    Synthesis", ACM MM 2022; the channels are those of their published programs for BEAT2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton import SMPLX

__all__ = ["LOCAL_UPPER_JOINTS", "scatter_joints", "upsample_linear"]

LOCAL_UPPER_JOINTS = (*SMPLX.groups["upper"], *SMPLX.groups["hands"])
"""The 43 joints, ascending."""


def scatter_joints(axis_angle: Tensor, joints: tuple[int, ...] = LOCAL_UPPER_JOINTS) -> Tensor:
    """Rotations of some joints ``(..., len(joints), 3)`` as those of all 55, the others unturned: ``(..., 55, 3)``."""
    check_shape("axis_angle", axis_angle, f"... {len(joints)} 3")
    whole = axis_angle.new_zeros(*axis_angle.shape[:-2], SMPLX.num_joints, 3)
    whole[..., list(joints), :] = axis_angle
    return whole


def upsample_linear(signal: Tensor, factor: int) -> Tensor:
    """A signal ``(T, ...)`` with ``factor`` times as many frames, first and last kept, as the published programs do it.

    The numbers are interpolated as they are, axis-angles too; ``Motion.resample`` turns joints along the shortest way
    and keeps the clock.

    Raises:
        ValueError: If there is no frame, or the factor is not positive.

    Example:
        >>> upsample_linear(torch.tensor([0.0, 3.0]), 2)
        tensor([0., 1., 2., 3.])
    """
    if len(signal) < 1 or factor < 1:
        raise ValueError(f"`signal` and `factor` must be at least 1 long; got {len(signal)} and {factor}.")
    # Positions in float64: in float32 those of a long clip are off by parts of a frame.
    times = torch.linspace(0, len(signal) - 1, factor * len(signal), dtype=torch.float64, device=signal.device)
    before = times.long().clamp(max=max(len(signal) - 2, 0))
    weight = (times - before).reshape(-1, *[1] * (signal.ndim - 1)).to(signal.dtype)
    after = (before + 1).clamp(max=len(signal) - 1)
    return signal[before] + weight * (signal[after] - signal[before])
