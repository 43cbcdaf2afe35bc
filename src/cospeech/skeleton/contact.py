"""When a foot stands: low and slow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton.skeleton import Skeleton
from cospeech.skeleton.smplx import SMPLX

__all__ = ["foot_contact"]


def foot_contact(
    joints: Tensor,
    *,
    rate_hz: float,
    skeleton: Skeleton = SMPLX,
    ground_height_metres: float | None = None,
    max_height_metres: float = 0.05,
    max_speed_metres_per_second: float = 0.3,
) -> Tensor:
    """Whether each foot joint stands on the ground.

    A joint is in contact while it is no more than ``max_height_metres`` above where it is when standing and moves no
    faster than ``max_speed_metres_per_second``. Standing, an ankle is higher than a toe by as much as in the rest pose.

    Args:
        joints: Positions in the world, metres, Y up, ``(..., T, J, 3)``.
        rate_hz: Frames per second.
        skeleton: Its group ``"feet"`` names the joints; for SMPL-X and SMPL left ankle, right ankle, left foot (ball of
            the toes), right foot.
        ground_height_metres: Height of the lowest foot joint of someone who stands. By default the lowest that a foot
            joint comes to in each clip, so a clip in which no foot comes down needs it given.
        max_height_metres: ``math.inf`` decides by speed alone.
        max_speed_metres_per_second: The default is EMAGE's 0.01 m per frame at 30 Hz; ``math.inf`` decides by height
            alone. The speed of a frame is that of the step to the next; the last frame keeps the last step's, and a
            single frame is at rest.

    Returns:
        bool, ``(..., T, feet)``, in the order of the group. NaN positions are not in contact.

    Raises:
        ValueError: If the joints do not fit the skeleton, it has no feet, or the rate or a threshold is out of range.
    """
    check_shape("joints", joints, f"... T {skeleton.num_joints} 3")
    if "feet" not in skeleton.groups:
        raise ValueError("The skeleton must have a group 'feet'; got " + (", ".join(skeleton.groups) or "no groups."))
    if not (rate_hz > 0 and math.isfinite(rate_hz)):
        raise ValueError(f"`rate_hz` must be a positive number; got {rate_hz}.")
    if not (max_height_metres >= 0 and max_speed_metres_per_second >= 0):
        raise ValueError(
            "Thresholds must not be negative; "
            f"got {max_height_metres} m above the ground and {max_speed_metres_per_second} m/s."
        )
    feet = torch.tensor(skeleton.groups["feet"], device=joints.device)
    positions = joints.index_select(-2, feet)
    num_frames = positions.shape[-3]
    if num_frames == 0:
        return torch.zeros(positions.shape[:-1], dtype=torch.bool, device=joints.device)
    height = positions[..., 1]
    if ground_height_metres is None:
        ground = height.amin(dim=(-2, -1), keepdim=True)
    else:
        ground = height.new_tensor(ground_height_metres)
    standing = skeleton.rest_joints.to(height)[feet, 1]
    low = height - ground - (standing - standing.min()) <= max_height_metres
    steps = positions.diff(dim=-3)
    last = steps[..., -1:, :, :] if num_frames > 1 else torch.zeros_like(positions)
    speed = torch.linalg.vector_norm(torch.cat([steps, last], dim=-3), dim=-1) * rate_hz
    slow: Tensor = speed <= max_speed_metres_per_second
    return low & slow
