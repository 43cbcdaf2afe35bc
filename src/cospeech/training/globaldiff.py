"""Training steps of GlobalDiff: the denoiser under its multi-level constraints, and the speech model.

One step is a function of a batch, of the noise and of the time; it returns every term of the loss. What is random is
drawn by the caller (``draw_step``), what is constant is measured once (``DenoiserObjective.target``).

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; terms and weights are those of the published program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.losses import bone_vectors, latent_loss, point_error_losses, structure_loss
from cospeech.models import GlobalDiffDenoiser, MaskedVAE, SpeechModel
from cospeech.schedulers import flow_interpolate
from cospeech.skeleton import SMPLX, Skeleton
from cospeech.training.motion_errors import (
    MeasuredMotion,
    anchored_losses,
    measure_motion,
    reconstruction_angles,
)

__all__ = [
    "DenoiserBatch",
    "DenoiserLosses",
    "DenoiserObjective",
    "DenoiserTarget",
    "DenoiserWeights",
    "StepDraws",
    "adam",
    "denoiser_losses",
    "draw_step",
    "hear_expressions",
    "optimizer_step",
    "speech_loss",
]

SIGMA_MIN = 1e-3
"""Noise that is left at time 1."""


@dataclass(frozen=True, kw_only=True)
class DenoiserWeights:
    """What each term counts; the defaults are the published ones."""

    mse: float = 1.0
    geodesic: float = 1e-3
    position: float = 1.0
    velocity: float = 10.0
    acceleration: float = 10.0
    structure: float = 1.0
    latent: float = 0.2
    seed: float = 0.1


class DenoiserLosses(NamedTuple):
    """The terms, weighted; their sum is what is minimised. One of each, scalars.

    Attributes:
        mse: Squared error of the features.
        geodesic: Angles between rotations, and absolute error of the translation.
        position: Joints and their anchor points.
        velocity: The same, frame to frame.
        acceleration: The same, second differences.
        structure: Angles between bones.
        latent: Latents of the frozen encoders.
        seed: As ``geodesic``, over the seed frames.
    """

    mse: Tensor
    geodesic: Tensor
    position: Tensor
    velocity: Tensor
    acceleration: Tensor
    structure: Tensor
    latent: Tensor
    seed: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of all terms."""
        return torch.stack(list(self)).sum()


class DenoiserTarget(NamedTuple):
    """All that the losses need of the ground truth; depends on the windows alone, so it can be kept."""

    motion: MeasuredMotion
    latents: tuple[Tensor, ...]

    def select(self, windows: Tensor) -> DenoiserTarget:
        """Some of the windows, by their numbers ``(B)``."""
        return DenoiserTarget(self.motion.select(windows), tuple(latents[windows] for latents in self.latents))


class DenoiserObjective:
    """The multi-level constraints, of single numbers, joints, the skeleton and time.

    Args:
        encoders: Masked VAEs at several strides, usually 2 and 4. They are put into evaluation mode and frozen.
        weights: What each term counts.
        num_seed_frames: Frames of the seed term.
        num_anchors: Points that hang on each joint.
        skeleton: The joint tree.
    """

    def __init__(
        self,
        encoders: Sequence[MaskedVAE],
        *,
        weights: DenoiserWeights | None = None,
        num_seed_frames: int = 8,
        num_anchors: int = 6,
        skeleton: Skeleton = SMPLX,
    ):
        self.encoders = tuple(encoder.eval().requires_grad_(False) for encoder in encoders)
        self.weights = weights or DenoiserWeights()
        self.num_seed_frames, self.num_anchors, self.skeleton = num_seed_frames, num_anchors, skeleton

    @torch.no_grad()
    def target(self, motion: Tensor, rest_joints: Tensor) -> DenoiserTarget:
        """Measure ground-truth windows.

        Args:
            motion: Global Rot6D rows and translation, ``(B, T, 6 J + 3)``.
            rest_joints: Of each window's speaker, metres, ``(B, J, 3)``.
        """
        measured = measure_motion(motion, rest_joints, self.skeleton)
        return DenoiserTarget(measured, tuple(encoder.encode(motion).mean for encoder in self.encoders))

    def losses(self, predicted: Tensor, target: DenoiserTarget, rest_joints: Tensor) -> DenoiserLosses:
        """The terms for predicted clean windows ``(B, T, 6 J + 3)``; rest joints as for ``target``."""
        weights, motion = self.weights, measure_motion(predicted, rest_joints, self.skeleton)
        angles, offsets = reconstruction_angles(motion, target.motion)
        points = anchored_losses(motion, target.motion, num_anchors=self.num_anchors)
        head = slice(self.num_seed_frames)
        latent = predicted.new_zeros(())
        if self.encoders:
            latents = [encoder.encode(predicted).mean for encoder in self.encoders]
            latent = latent_loss(latents, target.latents)
        return DenoiserLosses(
            mse=weights.mse * F.mse_loss(predicted, target.motion.features),
            geodesic=weights.geodesic * (angles.mean() + offsets.mean()),
            position=weights.position * points[0],
            velocity=weights.velocity * points[1],
            acceleration=weights.acceleration * points[2],
            structure=weights.structure * structure_loss(*map(self._bones, (motion, target.motion))),
            latent=weights.latent * latent,
            seed=weights.seed * (angles[:, head].mean() + offsets[:, head].mean()),
        )

    def _bones(self, motion: MeasuredMotion) -> Tensor:
        # Their cosines are not kept with the target: 0.7 MB a window, and as quickly computed as read.
        return bone_vectors(motion.joints, self.skeleton)


class DenoiserBatch(NamedTuple):
    """Windows for one step.

    Attributes:
        target: The ground truth, measured.
        features: Of the speech, ``(B, T, C)``.
        expressions: What the frozen speech model makes of the features and the speakers below, ``(B, T, E)``.
        speaker: As the networks number them, 0 for nobody, ``(B,)``.
        rest_joints: Of each speaker, metres, ``(B, J, 3)``.
    """

    target: DenoiserTarget
    features: Tensor
    expressions: Tensor
    speaker: Tensor
    rest_joints: Tensor


class StepDraws(NamedTuple):
    """What is random about a step.

    Attributes:
        noise: Standard normal, shaped like the motion.
        time: Uniform from 0 to 1, ``(B,)``.
        drops_speaker: Whether this whole batch is to be told speaker 0, which teaches the unconditional network.
    """

    noise: Tensor
    time: Tensor
    drops_speaker: bool


def draw_step(
    shape: Sequence[int],
    generator: torch.Generator,
    *,
    drop_probability: float = 0.1,
    device: torch.device | str = "cpu",
) -> StepDraws:
    """Draw what is random about a step for motion of this shape ``(B, T, C)``.

    The generator lives on the CPU, so that every device trains on the same draws.
    """
    noise = torch.randn(*shape, generator=generator).to(device)
    time = torch.rand(shape[0], generator=generator).to(device)
    return StepDraws(noise, time, bool(torch.rand((), generator=generator) < drop_probability))


@torch.no_grad()
def hear_expressions(model: SpeechModel, features: Tensor, speaker: Tensor) -> Tensor:
    """Expressions of the frozen speech model, ``(B, T, E)``.

    They depend on window and speaker only: for a data set compute them once for each window's speaker and once for
    speaker 0, instead of at every step.
    """
    expressions: Tensor = model.eval()(features, speaker)
    return expressions


def denoiser_losses(
    denoiser: GlobalDiffDenoiser, objective: DenoiserObjective, batch: DenoiserBatch, draws: StepDraws
) -> DenoiserLosses:
    """The terms of one training step.

    Args:
        denoiser: The network in training.
        objective: The constraints.
        batch: Windows; of a batch that drops its speaker ``speaker`` and ``expressions`` are those of speaker 0.
        draws: Noise and time.
    """
    clean = batch.target.motion.features
    noisy = flow_interpolate(clean, draws.noise, draws.time, sigma_min=SIGMA_MIN)
    seed = clean[:, : denoiser.config.num_seed_frames]
    predicted = denoiser(noisy, draws.time, batch.speaker, seed, batch.features, batch.expressions)
    return objective.losses(predicted, batch.target, batch.rest_joints)


def speech_loss(model: SpeechModel, features: Tensor, speaker: Tensor, expressions: Tensor) -> Tensor:
    """What the speech model is trained on: smooth L1 of expressions, of their velocities and accelerations.

    The script that trained the published speech model was never released. This loss is a reconstruction in the manner
    of the denoiser's: the name of a sibling folder of the checkpoint ("GeometricLoss") says that differences in time
    counted too, and their weights are those of the denoiser.

    Args:
        model: In training mode.
        features: Of the speech, ``(B, T, C)``.
        speaker: ``(B,)``.
        expressions: Ground truth, ``(B, T, E)``.
    """
    predicted = model(features, speaker)
    position, velocity, acceleration = point_error_losses((predicted - expressions)[..., None, :])
    weights = DenoiserWeights()
    return weights.position * position + weights.velocity * velocity + weights.acceleration * acceleration


def adam(parameters: Iterable[nn.Parameter], learning_rate: float = 1e-4) -> torch.optim.Adam:
    """Adam as published (no decay, no schedule), in one fused pass over the parameters."""
    return torch.optim.Adam(list(parameters), lr=learning_rate, fused=True)


def optimizer_step(loss: Tensor, optimizer: torch.optim.Optimizer, *, max_gradient: float = 1.0) -> None:
    """Gradients of the loss, each number clipped to plus and minus ``max_gradient``, then one step of the optimizer."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:  # one pass; torch's function makes two
                parameter.grad.clamp_(-max_gradient, max_gradient)
    optimizer.step()
