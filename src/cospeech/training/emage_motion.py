"""Training steps of EMAGE's motion networks: the four VQ-VAEs and the global motion network.

The earlier program of EMAGE trained them with terms on the vertices of a body mesh. Without a mesh these are taken on
joints; ``points`` may be vertices (see ``cospeech.body``). It takes some of their differences "in time" along the
vertices by mistake; here they are in time.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; terms and weights are those of the published programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.data import EmageBatch
from cospeech.losses import (
    MotionTerms,
    central_velocity,
    locked_feet_loss,
    quantizer_loss,
    rotation_terms,
    signal_terms,
)
from cospeech.models import EMAGE_PART_JOINTS, EmageGlobalMotion, EmageParts, EmageVQVAE, split_emage_motion
from cospeech.rotations import rot6d_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics

__all__ = [
    "GlobalMotionLosses",
    "VQVAELosses",
    "emage_parts",
    "emage_vq_adam",
    "global_motion_losses",
    "joint_positions",
    "vqvae_losses",
]

Points = Callable[[Tensor], Tensor]
"""Local rotations of all joints ``(B, T, J, 3, 3)`` to points on the body, metres, ``(B, T, V, 3)``."""

_FEET, _FEET_WEIGHT, _DIFFERENCE_WEIGHT = list(SMPLX.groups["feet"]), 20.0, 5.0


class VQVAELosses(NamedTuple):
    """The terms of one part, weighted; those that a part does not have are 0.

    Attributes:
        rotation: Angles between rotations.
        rotation_velocity: First differences of their matrices.
        rotation_acceleration: Second differences.
        signal: Expressions, or contact.
        signal_velocity: First differences of expressions.
        signal_acceleration: Second differences.
        points: Positions on the body.
        points_velocity: First differences.
        points_acceleration: Second differences.
        feet: Steps of feet that stand.
        quantizer: Codebook and commitment.
    """

    rotation: Tensor
    rotation_velocity: Tensor
    rotation_acceleration: Tensor
    signal: Tensor
    signal_velocity: Tensor
    signal_acceleration: Tensor
    points: Tensor
    points_velocity: Tensor
    points_acceleration: Tensor
    feet: Tensor
    quantizer: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return torch.stack(list(self)).sum()


class GlobalMotionLosses(NamedTuple):
    """The terms of the global motion network, weighted.

    Attributes:
        contact: Foot contact.
        velocity: Along X and Z, and its differences.
        position: Where the body is, and its differences.
        points: Positions on the body, and their differences.
        feet: Steps of feet that stand.
    """

    contact: Tensor
    velocity: Tensor
    position: Tensor
    points: Tensor
    feet: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return torch.stack(list(self)).sum()


def emage_parts(batch: EmageBatch) -> EmageParts:
    """The channels of each part that is there, ``(B, T, C)``."""
    parts = split_emage_motion(batch.rot6d, batch.expressions, batch.translation, batch.contact)
    return EmageParts(*(x if name in batch.parts else None for name, x in zip(parts._fields, parts, strict=True)))


def joint_positions(local_rotations: Tensor) -> Tensor:
    """Joints of the mean rest pose, the root in its place: ``(B, T, J, 3, 3)`` to ``(B, T, J, 3)``."""
    return forward_kinematics(local_rotations, SMPLX)


def vqvae_losses(part: str, vqvae: EmageVQVAE, motion: Tensor, *, points: Points | None = None) -> VQVAELosses:
    """The terms of one step of a part's VQ-VAE.

    Args:
        part: "face", "upper", "hands" or "lower".
        vqvae: In training mode.
        motion: The part's channels, ``(B, T, C)``.
        points: What the terms on points are taken on; joints by default. The face has them only where this is given,
            since joints do not tell of it.

    Raises:
        ValueError: If there is no such part, or the shape does not fit.
    """
    if part not in EMAGE_PART_JOINTS:
        raise ValueError(f"Unknown part {part!r}; choose from {', '.join(EMAGE_PART_JOINTS)}.")
    is_face, zero = part == "face", motion.new_zeros(())
    output = vqvae(motion)
    predicted, target = (_matrices(x, part) for x in (output.reconstruction, motion))
    rotation = rotation_terms(predicted, target, squared=is_face)
    signal, spots, feet = MotionTerms(zero, zero, zero), MotionTerms(zero, zero, zero), zero
    if is_face:
        signal = signal_terms(output.reconstruction[..., 6:], motion[..., 6:], squared=True)
    if not is_face or points is not None:
        where = [(points or joint_positions)(_whole_body(x, part)) for x in (predicted, target)]
        spots = _point_terms(*where, squared=is_face)
        if part == "lower":
            contact = output.reconstruction[..., -4:]
            signal = signal._replace(value=F.mse_loss(contact, motion[..., -4:]))
            steps = joint_positions(_whole_body(predicted, part)) if points else where[0]
            spots = spots._replace(velocity=zero, acceleration=zero)
            feet = _FEET_WEIGHT * locked_feet_loss(steps[..., _FEET, :], contact)
    return VQVAELosses(*rotation, *signal, *spots, feet, quantizer_loss(output.latents, output.codes))


def global_motion_losses(
    network: EmageGlobalMotion, lower: Tensor, translation: Tensor, *, rate_hz: float = 30.0
) -> GlobalMotionLosses:
    """The terms of one step of the global motion network.

    It is shown how the legs turn, and neither where the body is nor which feet stand.

    Args:
        network: In training mode.
        lower: The true channels of the lower body, ``(B, T, 61)``.
        translation: Where the body is, metres, ``(B, T, 3)``.
        rate_hz: Frames per second.
    """
    check_shape("translation", translation, " ".join(map(str, (*lower.shape[:2], 3))))
    turned = torch.cat([lower[..., :-7], torch.zeros_like(lower[..., -7:])], dim=-1)
    output = network(turned)
    velocity = central_velocity(translation, rate_hz=rate_hz)
    # The last seven channels: velocity along X, height, velocity along Z, four contacts.
    ground = [signal_terms(output[..., [i - 7]], velocity[..., [i]]) for i in (0, 2)]
    position = network.integrate(output, translation[:, 0], rate_hz=rate_hz).translation
    error = signal_terms(position, translation)
    # Both bodies are posed alike, so that every point of them is as far off as the root.
    spots = signal_terms(position, translation, squared=True)
    feet = joint_positions(_whole_body(_matrices(lower, "lower"), "lower"))[..., _FEET, :] + position[..., None, :]
    return GlobalMotionLosses(
        contact=F.mse_loss(output[..., -4:], lower[..., -4:]),
        velocity=_stressed(ground[0]) + _stressed(ground[1]),
        position=_stressed(error),
        points=_stressed(spots),
        feet=_FEET_WEIGHT * locked_feet_loss(feet, output[..., -4:]),
    )


def emage_vq_adam(parameters: Iterable[nn.Parameter], learning_rate: float = 1.5e-4) -> torch.optim.Adam:
    """Adam as the motion networks were trained with; the rate fell to a tenth for the last 20 of 800 epochs."""
    return torch.optim.Adam(list(parameters), lr=learning_rate, betas=(0.5, 0.999), fused=True)


def _matrices(motion: Tensor, part: str) -> Tensor:
    count = len(EMAGE_PART_JOINTS[part])
    return rot6d_to_matrix(motion[..., : 6 * count].reshape(*motion.shape[:-1], count, 6))


def _whole_body(rotations: Tensor, part: str) -> Tensor:
    """A part's rotations among those of all joints, the others unturned: ``(B, T, J, 3, 3)``."""
    whole = torch.eye(3, dtype=rotations.dtype, device=rotations.device).repeat(
        *rotations.shape[:2], SMPLX.num_joints, 1, 1
    )
    whole[:, :, list(EMAGE_PART_JOINTS[part])] = rotations
    return whole


def _point_terms(predicted: Tensor, target: Tensor, *, squared: bool) -> MotionTerms:
    """Squared distances of positions; of their differences squared or absolute ones."""
    error = predicted - target
    first, second = error.diff(dim=1), error.diff(n=2, dim=1)
    velocity, acceleration = (x.square().mean() if squared else x.abs().mean() for x in (first, second))
    return MotionTerms(error.square().mean(), velocity, acceleration)


def _stressed(terms: Sequence[Tensor]) -> Tensor:
    value, velocity, acceleration = terms
    return value + _DIFFERENCE_WEIGHT * (velocity + acceleration)
