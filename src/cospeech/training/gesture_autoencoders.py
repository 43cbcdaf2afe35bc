"""Training losses of the autoencoders whose latents the Fréchet distances of gestures compare.

The skeleton autoencoder of BEAT2: Adam at 1e-4 with betas 0.5 and 0.999, batches of 32 windows of 64 frames, 100 epochs
over all speakers. How the gesture autoencoder of BEAT (2022) and DiffSHEG was trained is not published; its loss here
is a plain one of ours.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; terms and weights are those of the published program (``ae_trainer``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.losses import rotation_terms, signal_terms
from cospeech.models import GestureAutoencoder, SkeletonAutoencoder
from cospeech.rotations import rot6d_to_matrix

__all__ = ["AutoencoderLosses", "gesture_autoencoder_losses", "skeleton_autoencoder_losses"]

_ANGLE_WEIGHT = 10.0


class AutoencoderLosses(NamedTuple):
    """The terms, weighted; scalars.

    Attributes:
        motion: Distance of the windows themselves.
        velocity: Of their first differences along time.
        acceleration: Of their second differences; 0 where there is no such term.
    """

    motion: Tensor
    velocity: Tensor
    acceleration: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return torch.stack(list(self)).sum()


def skeleton_autoencoder_losses(model: SkeletonAutoencoder, rot6d: Tensor) -> AutoencoderLosses:
    """The published terms: 10 times the mean angle, and absolute differences of velocities and accelerations.

    Args:
        model: In training mode.
        rot6d: Rot6D rows of local rotations, joint after joint, ``(B, T, 6 J)``.
    """
    angle, velocity, acceleration = rotation_terms(joint_matrices(model(rot6d)), joint_matrices(rot6d))
    return AutoencoderLosses(_ANGLE_WEIGHT * angle, velocity, acceleration)


def gesture_autoencoder_losses(model: GestureAutoencoder, windows: Tensor) -> AutoencoderLosses:
    """Plain terms of ours: absolute differences of normalised channels and of their velocities.

    Args:
        model: In training mode, where its batch norm wants two windows at least.
        windows: Normalised channels, ``(B, T, C)``.
    """
    value, velocity, _ = signal_terms(model(windows), windows)
    return AutoencoderLosses(value, velocity, torch.zeros_like(value))


def joint_matrices(rot6d: Tensor) -> Tensor:
    """Rotation matrices ``(B, T, J, 3, 3)`` of Rot6D rows ``(B, T, 6 J)``."""
    check_shape("rot6d", rot6d, "B T C")
    return rot6d_to_matrix(rot6d.reshape(*rot6d.shape[:-1], -1, 6))
