"""How bones lie towards each other, whatever way the body faces: the skeleton structure constraint of GlobalDiff."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.skeleton import Skeleton

__all__ = ["bone_cosines", "bone_vectors", "structure_loss"]


def bone_vectors(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """From each joint's parent to the joint, without the root: ``(..., J, 3)`` to ``(..., J - 1, 3)``.

    Raises:
        ValueError: If the joint axis does not fit the skeleton.
    """
    check_shape("joints", joints, f"... {skeleton.num_joints} 3")
    parents = torch.tensor(skeleton.parents[1:], device=joints.device)
    return joints[..., 1:, :] - joints.index_select(-2, parents)


def bone_cosines(bones: Tensor) -> Tensor:
    """Cosines of the angles between all pairs of bones, a Gram matrix.

    Args:
        bones: Bone vectors, ``(..., N, 3)``; their lengths do not count.

    Returns:
        ``(..., N, N)``.

    Example:
        >>> bone_cosines(torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])).round(decimals=4)
        tensor([[1., 0.],
                [0., 1.]])
    """
    check_shape("bones", bones, "... N 3")
    # 1e-6 m is added as published: a bone that has shrunk to nothing has cosines of 0 and a finite gradient.
    directions = bones / (torch.linalg.vector_norm(bones, dim=-1, keepdim=True) + 1e-6)
    cosines: Tensor = directions @ directions.mT
    return cosines


def structure_loss(predicted_cosines: Tensor, target_cosines: Tensor) -> Tensor:
    """Mean absolute difference of two sets of ``bone_cosines``, a scalar.

    It takes cosines, not bones, so that those of the ground truth can be computed once and kept.

    Args:
        predicted_cosines: ``(..., N, N)``.
        target_cosines: The same shape.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 ("skeleton structure constraint").
    """
    return (predicted_cosines - target_cosines).abs().mean()
