"""Forward kinematics, and local (parent frame) against global (world frame) rotations.

Everything takes any leading axes: ``(..., J, 3, 3)`` rotations for column vectors, ``(..., 3)`` translations in metres.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton.skeleton import Skeleton

__all__ = ["forward_kinematics", "forward_kinematics_global", "global_to_local", "local_to_global"]


def local_to_global(local_rotations: Tensor, skeleton: Skeleton) -> Tensor:
    """World-frame rotations of every joint from rotations in the parents' frames.

    ``G_root = L_root`` and ``G_j = G_parent(j) L_j``.

    Args:
        local_rotations: ``(..., J, 3, 3)``.
        skeleton: The joint tree.

    Returns:
        ``(..., J, 3, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton.
    """
    check_shape("local_rotations", local_rotations, f"... {skeleton.num_joints} 3 3")
    chain: list[Tensor] = []
    for joint, parent in enumerate(skeleton.parents):
        local = local_rotations[..., joint, :, :]
        chain.append(local if parent < 0 else chain[parent] @ local)
    return torch.stack(chain, dim=-3)


def global_to_local(global_rotations: Tensor, skeleton: Skeleton) -> Tensor:
    """Rotations in the parents' frames from world-frame rotations; undoes ``local_to_global``.

    ``L_root = G_root`` and ``L_j = G_parent(j)^T G_j``.

    Args:
        global_rotations: ``(..., J, 3, 3)``.
        skeleton: The joint tree.

    Returns:
        ``(..., J, 3, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton.
    """
    check_shape("global_rotations", global_rotations, f"... {skeleton.num_joints} 3 3")
    parents = global_rotations[..., skeleton.parents[1:], :, :]
    children = parents.transpose(-1, -2) @ global_rotations[..., 1:, :, :]
    return torch.cat([global_rotations[..., :1, :, :], children], dim=-3)


def forward_kinematics(
    local_rotations: Tensor, skeleton: Skeleton, translation: Tensor | None = None, rest_joints: Tensor | None = None
) -> Tensor:
    """Joint positions from rotations in the parents' frames.

    The root stands at its rest position plus ``translation``, as in SMPL-X.

    Args:
        local_rotations: ``(..., J, 3, 3)``.
        skeleton: The joint tree and its rest pose.
        translation: ``(..., 3)`` in metres; none means zero.
        rest_joints: Rest positions in place of the skeleton's, ``(..., J, 3)`` in metres; leading axes broadcast.

    Returns:
        ``(..., J, 3)`` in metres.

    Raises:
        ValueError: If the shapes do not fit.
    """
    global_rotations = local_to_global(local_rotations, skeleton)
    return forward_kinematics_global(global_rotations, skeleton, translation, rest_joints)


def forward_kinematics_global(
    global_rotations: Tensor, skeleton: Skeleton, translation: Tensor | None = None, rest_joints: Tensor | None = None
) -> Tensor:
    """Joint positions from world-frame rotations; otherwise as ``forward_kinematics``."""
    check_shape("global_rotations", global_rotations, f"... {skeleton.num_joints} 3 3")
    if rest_joints is None:
        rest_joints = skeleton.rest_joints.to(global_rotations)
    root = rest_joints[..., 0, :] if translation is None else rest_joints[..., 0, :] + translation
    batch = torch.broadcast_shapes(global_rotations.shape[:-3], root.shape[:-1])  # type: ignore[no-untyped-call]
    chain: list[Tensor] = [root.expand(*batch, 3)]
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        bone = rest_joints[..., joint, :] - rest_joints[..., parent, :]
        chain.append(chain[parent] + (global_rotations[..., parent, :, :] @ bone[..., None])[..., 0])
    return torch.stack(chain, dim=-2)
