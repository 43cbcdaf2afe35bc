"""Forward kinematics, and local (parent frame) against global (world frame) rotations.

Everything takes any leading axes: ``(..., J, 3, 3)`` rotations for column vectors, ``(..., 3)`` translations in metres.
Gradients are those of the products as written, so matrices need not be rotations. First derivatives only, except under
``torch.compile``, which sees plain operations. float16 and bfloat16 are computed in float32.

The work goes through blocks of frames that fit the cache, so memory beyond the result does not grow with the clip.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton._differentiable import (
    GlobalPositions,
    GlobalToLocal,
    LocalPositions,
    LocalToGlobal,
    apply_kinematics,
)
from cospeech.skeleton._frames_last import Tree, tree
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

    Example:
        >>> from cospeech.skeleton import SMPLX
        >>> local_to_global(torch.eye(3).expand(2, 60, 55, 3, 3), SMPLX).shape
        torch.Size([2, 60, 55, 3, 3])
    """
    check_shape("local_rotations", local_rotations, f"... {skeleton.num_joints} 3 3")
    batch = local_rotations.shape[:-3]
    flat = local_rotations.reshape(batch.numel(), skeleton.num_joints, 3, 3)
    result = apply_kinematics(LocalToGlobal, flat, tree(skeleton.parents, flat.device))
    return result.view(*batch, skeleton.num_joints, 3, 3)


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
    batch = global_rotations.shape[:-3]
    flat = global_rotations.reshape(batch.numel(), skeleton.num_joints, 3, 3)
    result = apply_kinematics(GlobalToLocal, flat, tree(skeleton.parents, flat.device))
    return result.view(*batch, skeleton.num_joints, 3, 3)


def forward_kinematics(
    local_rotations: Tensor, skeleton: Skeleton, translation: Tensor | None = None, rest_joints: Tensor | None = None
) -> Tensor:
    """Joint positions from rotations in the parents' frames.

    The root stands at its rest position plus ``translation``, as in SMPL-X.

    Args:
        local_rotations: ``(..., J, 3, 3)``.
        skeleton: The joint tree and its rest pose.
        translation: ``(..., 3)`` in metres; none means zero.
        rest_joints: Rest positions in place of the skeleton's, ``(..., J, 3)`` in metres. Leading axes of all three
            arguments broadcast: one skeleton per clip is ``(B, 1, J, 3)`` beside rotations ``(B, T, J, 3, 3)``.

    Returns:
        ``(..., J, 3)`` in metres.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> from cospeech.skeleton import SMPLX
        >>> joints = forward_kinematics(torch.eye(3).expand(60, 55, 3, 3), SMPLX, translation=torch.zeros(60, 3))
        >>> torch.allclose(joints, SMPLX.rest_joints, atol=1e-6)
        True
    """
    check_shape("local_rotations", local_rotations, f"... {skeleton.num_joints} 3 3")
    return _positions(LocalPositions, local_rotations, skeleton, translation, rest_joints)


def forward_kinematics_global(
    global_rotations: Tensor, skeleton: Skeleton, translation: Tensor | None = None, rest_joints: Tensor | None = None
) -> Tensor:
    """Joint positions from world-frame rotations.

    Args:
        global_rotations: ``(..., J, 3, 3)``.
        skeleton: The joint tree and its rest pose.
        translation: ``(..., 3)`` in metres; none means zero.
        rest_joints: Rest positions in place of the skeleton's, ``(..., J, 3)``; leading axes broadcast.

    Returns:
        ``(..., J, 3)`` in metres.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_shape("global_rotations", global_rotations, f"... {skeleton.num_joints} 3 3")
    return _positions(GlobalPositions, global_rotations, skeleton, translation, rest_joints)


def _positions(
    function: type[LocalPositions] | type[GlobalPositions],
    rotations: Tensor,
    skeleton: Skeleton,
    translation: Tensor | None,
    rest_joints: Tensor | None,
) -> Tensor:
    num_joints = skeleton.num_joints
    joint_tree = tree(skeleton.parents, rotations.device)
    batch = rotations.shape[:-3]
    if rest_joints is None:
        find = _rest_offsets if torch.compiler.is_compiling() else _kept_rest_offsets
        offsets = find(skeleton, rotations.dtype, rotations.device)
    else:
        check_shape("rest_joints", rest_joints, f"... {num_joints} 3")
        offsets = _offsets(rest_joints.to(rotations), joint_tree)
        batch = _broadcast(batch, offsets.shape[:-2])
    if translation is not None:
        check_shape("translation", translation, "... 3")
        batch = _broadcast(batch, translation.shape[:-1])
        translation = translation.to(rotations).expand(*batch, 3).reshape(batch.numel(), 3)
    if offsets.shape[:-2].numel() == 1:  # one skeleton for all frames
        offsets = offsets.reshape(num_joints, 3)
    else:
        offsets = offsets.expand(*batch, num_joints, 3).reshape(batch.numel(), num_joints, 3)
    flat = rotations.expand(*batch, num_joints, 3, 3).reshape(batch.numel(), num_joints, 3, 3)
    return apply_kinematics(function, flat, joint_tree, offsets, translation).view(*batch, num_joints, 3)


def _offsets(rest_joints: Tensor, joint_tree: Tree) -> Tensor:
    """From each joint's parent to the joint, in the rest pose; for the root, from the origin."""
    bones = rest_joints - rest_joints.index_select(-2, joint_tree.parents)
    return torch.cat([rest_joints[..., :1, :], bones[..., 1:, :]], dim=-2)


def _rest_offsets(skeleton: Skeleton, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Subtracted in float64: the same bones, whatever the input's precision.
    rest_joints = skeleton.rest_joints.to(device, torch.float64)
    return _offsets(rest_joints, tree(skeleton.parents, device)).to(dtype)


_kept_rest_offsets = lru_cache(maxsize=64)(_rest_offsets)


def _broadcast(first: torch.Size, second: torch.Size) -> torch.Size:
    try:
        return torch.Size(torch.broadcast_shapes(first, second))  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ValueError(
            "Leading axes of rotations, translation and rest joints must broadcast; "
            f"got {tuple(first)} and {tuple(second)}."
        ) from None
