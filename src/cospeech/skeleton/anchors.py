"""Anchor points: offsets carried along by each joint, so that a distance between points sees a joint's own rotation.

Joint positions alone do not show how the last joint of a limb is turned, nor how a bone rolls about itself. Points that
stand off a joint and turn with it do.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026 ("virtual anchor points").
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from cospeech._checks import check_shape

__all__ = ["anchor_offsets", "anchor_points"]

_GOLDEN = (1 + math.sqrt(5)) / 2
_HALF = math.sqrt(0.5)
_CORNERS = {
    4: [(_HALF, _HALF, _HALF), (-_HALF, -_HALF, _HALF), (-_HALF, _HALF, -_HALF), (_HALF, -_HALF, -_HALF)],
    6: [tuple(sign * (axis == k) for k in range(3)) for axis in range(3) for sign in (-1, 1)],
    20: [
        *product((1, -1), repeat=3),
        *((0, s * _GOLDEN, t / _GOLDEN) for s, t in product((1, -1), repeat=2)),
        *((s / _GOLDEN, 0, t * _GOLDEN) for s, t in product((1, -1), repeat=2)),
        *((s * _GOLDEN, t / _GOLDEN, 0) for s, t in product((1, -1), repeat=2)),
    ],
}


def anchor_offsets(num_points: int = 6, *, size_metres: float = 0.1) -> Tensor:
    """Corners of a regular solid about the joint, in GlobalDiff's order.

    Args:
        num_points: 4 (tetrahedron), 6 (octahedron: both ways along x, y and z) or 20 (dodecahedron).
        size_metres: Distance of opposite corners of the octahedron. The published tetrahedron and dodecahedron of the
            same size have corners at ``sqrt(6) / 4`` and ``sqrt(3) / 2`` of it from the joint.

    Returns:
        ``(num_points, 3)`` in metres, float32.

    Raises:
        ValueError: If there is no such solid.

    Example:
        >>> anchor_offsets(6)[:2]
        tensor([[-0.0500,  0.0000,  0.0000],
                [ 0.0500,  0.0000,  0.0000]])
    """
    if num_points not in _CORNERS:
        raise ValueError(f"`num_points` must be one of {', '.join(map(str, _CORNERS))}; got {num_points}.")
    return (torch.tensor(_CORNERS[num_points], dtype=torch.float64) * (size_metres / 2)).float()


def anchor_points(joints: Tensor, global_rotations: Tensor, offsets: Tensor) -> Tensor:
    """World positions of points that stand off each joint and turn with it: ``G_j offset + p_j``.

    Args:
        joints: Joint positions, metres, ``(..., J, 3)``.
        global_rotations: World-frame rotations of the same joints, ``(..., J, 3, 3)``.
        offsets: In each joint's own frame, metres: ``(P, 3)`` for all joints alike or ``(J, P, 3)``.

    Returns:
        ``(..., J, P, 3)`` in metres.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_shape("joints", joints, "... J 3")
    check_shape("global_rotations", global_rotations, f"... {joints.shape[-2]} 3 3")
    check_shape("offsets", offsets, "P 3" if offsets.ndim == 2 else f"{joints.shape[-2]} P 3")
    # Written out, not as a matmul: that would run in low precision under autocast.
    x, y, z = offsets.to(global_rotations).unsqueeze(-3 if offsets.ndim == 2 else -4).unbind(-1)
    columns = global_rotations.unsqueeze(-3).unbind(-1)  # each (..., J, 1, 3)
    turned = columns[0] * x[..., None] + columns[1] * y[..., None] + columns[2] * z[..., None]
    return joints.unsqueeze(-2) + turned
