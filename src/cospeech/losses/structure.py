"""How bones lie towards each other, whatever way the body faces: the skeleton structure constraint of GlobalDiff."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    directions = _directions(bones)
    cosines: Tensor = directions @ directions.mT
    return cosines


def structure_loss(predicted_bones: Tensor, target_bones: Tensor) -> Tensor:
    """Mean absolute difference of the ``bone_cosines`` of two poses, a scalar.

    Args:
        predicted_bones: Bone vectors, ``(..., N, 3)``.
        target_bones: The same shape; constant, it gets no gradient.

    Returns:
        First derivatives only.

    Raises:
        ValueError: If the shapes differ.

    Reference:
        Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
        Multi-Level Constraints", AAAI 2026 ("skeleton structure constraint").
    """
    check_shape("predicted_bones", predicted_bones, "... N 3")
    if predicted_bones.shape != target_bones.shape:
        shapes = f"{tuple(predicted_bones.shape)} and {tuple(target_bones.shape)}"
        raise ValueError(f"`predicted_bones` and `target_bones` must have the same shape; got {shapes}.")
    predicted, target = (_directions(bones).reshape(-1, *bones.shape[-2:]) for bones in (predicted_bones, target_bones))
    loss: Tensor = _CosineDifference.apply(predicted, target.detach())  # type: ignore[no-untyped-call]
    return loss


class _CosineDifference(torch.autograd.Function):
    """Mean of ``|U U^T - V V^T|`` over ``(M, N, 3)``, the difference in one product, its sign kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, predicted: Tensor, target: Tensor) -> Tensor:
        left, right = torch.cat([predicted, -target], dim=-1), torch.cat([predicted, target], dim=-1)
        difference = left @ right.mT
        # Pose by pose: one running sum over all of them would lose digits.
        loss: Tensor = torch.linalg.vector_norm(difference, 1, dim=(-2, -1)).sum() / difference.numel()
        ctx.save_for_backward(difference.sign_(), predicted)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        sign, predicted = ctx.saved_tensors
        return (sign @ predicted) * (2 * gradient / sign.numel()), None


def _directions(bones: Tensor) -> Tensor:
    # 1e-6 m is added as published: a bone that has shrunk to nothing has cosines of 0 and a finite gradient.
    directions: Tensor = bones / (torch.linalg.vector_norm(bones, dim=-1, keepdim=True) + 1e-6)
    return directions
