"""Arms and legs from where their ends should be: inverse kinematics of two bones and a hinge, in closed form.

The hinge (elbow, knee) turns about one axis that is fixed in the upper bone, so it bends one way only and never
sideways. What remains free, the swing of the hinge about the line from root to end, is settled by a direction that the
hinge should point to.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.rotations import axis_angle_to_matrix

__all__ = ["TwoBonePose", "solve_two_bones"]


class TwoBonePose(NamedTuple):
    """Solution of a limb."""

    upper_rotation: Tensor  # (..., 3, 3) of the upper bone, global: turns its rest direction into place
    hinge_angle: Tensor  # (...), radians, never negative
    reached: Tensor  # (..., 3) where the end is; the target unless that was out of reach


def solve_two_bones(
    root: Tensor, target: Tensor, pole: Tensor, upper_bone: Tensor, lower_bone: Tensor, hinge_axis: Tensor
) -> TwoBonePose:
    """Upper rotation and hinge angle that bring the end of a limb to a target.

    Args:
        root: Shoulder or hip, ``(..., 3)``.
        target: Where wrist or ankle should be, ``(..., 3)``.
        pole: Direction towards which the hinge points, ``(..., 3)``; it must not lie along ``target - root``.
        upper_bone: Hinge minus root in the rest pose, ``(3)``.
        lower_bone: End minus hinge in the rest pose, ``(3)``.
        hinge_axis: Axis about which the lower bone folds by a positive angle, in the rest pose, ``(3)``; made
            perpendicular to the upper bone here.

    Returns:
        The pose. Targets out of reach are pulled back along their direction to 99.9 % of the longest reach.

    Example:
        >>> root, target = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
        >>> bone, forward = torch.tensor([0.0, -0.6, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        >>> pose = solve_two_bones(root, target, forward, bone, bone, torch.tensor([1.0, 0.0, 0.0]))
        >>> torch.allclose(pose.reached, target, atol=1e-6)
        True
    """
    for name, x in (("root", root), ("target", target), ("pole", pole)):
        check_shape(name, x, "... 3")
    upper_length = upper_bone.norm()
    axis = hinge_axis - upper_bone * (hinge_axis @ upper_bone) / upper_length**2
    axis = axis / axis.norm()
    along = (lower_bone @ axis) * axis  # the part of the lower bone that the hinge does not move
    folding = lower_bone - along
    reach = upper_length * folding.norm()
    rest_angle = torch.atan2(upper_bone @ torch.linalg.cross(axis, folding), upper_bone @ folding)

    line = target - root
    squares = upper_length**2 + lower_bone @ lower_bone
    straight = torch.sqrt(squares + 2 * reach * torch.cos((-rest_angle).clamp_min(0)))  # reach at hinge angle 0 or best
    distance = line.norm(dim=-1).clamp_max(0.999 * straight)
    cosine = ((distance**2 - squares) / (2 * reach)).clamp(-0.98, 1.0)
    angle = (rest_angle + torch.acos(cosine)).clamp_min(0.0)

    lower = axis_angle_to_matrix(angle[..., None] * axis) @ lower_bone
    chord = upper_bone + lower
    local_frame = _frame(chord, torch.linalg.cross(chord, axis.expand_as(chord)))
    world_frame = _frame(line, pole)
    upper_rotation = world_frame @ local_frame.transpose(-1, -2)
    return TwoBonePose(upper_rotation, angle, root + (upper_rotation @ chord[..., None])[..., 0])


def _frame(first: Tensor, third: Tensor) -> Tensor:
    """Right-handed frame: column 0 along ``first``, column 2 towards ``third``."""
    x = first / first.norm(dim=-1, keepdim=True)
    z = third - (third * x).sum(-1, keepdim=True) * x
    z = z / z.norm(dim=-1, keepdim=True)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-1)
