"""Training steps of EMAGE: the four VQ-VAEs, the global motion network, the masked audio-gesture transformer.

The networks of motion learn first; frozen, they give the transformer its targets. Several data sets train one trunk:
each has codebooks and heads of its own (``share_trunk``), and what a data set does not have contributes no gradient.

The earlier program of EMAGE trained the motion networks with terms on the vertices of a body mesh. Without a mesh these
are taken on joints; ``points`` may be vertices (see ``cospeech.body``). It takes some of their differences "in time"
along the vertices by mistake; here they are in time.

Reference:
    Liu et al., "EMAGE: Towards Unified Holistic Co-Speech Gesture Generation via Expressive Masked Audio Gesture
    Modeling", CVPR 2024; terms and weights are those of the published programs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    part_code_loss,
    part_latent_loss,
    quantizer_loss,
    rotation_terms,
    signal_terms,
)
from cospeech.models import (
    EMAGE_PART_JOINTS,
    EmageGlobalMotion,
    EmageHeard,
    EmageMotionCodec,
    EmageOutput,
    EmageParts,
    EmageTransformer,
    EmageVQVAE,
    split_emage_motion,
)
from cospeech.rotations import rot6d_to_matrix
from cospeech.skeleton import SMPLX, forward_kinematics

__all__ = [
    "CODE_WEIGHTS",
    "LATENT_WEIGHTS",
    "EmageLosses",
    "EmageTargets",
    "GlobalMotionLosses",
    "VQVAELosses",
    "draw_emage_mask",
    "emage_losses",
    "emage_mask_ratio",
    "emage_parts",
    "emage_targets",
    "emage_vq_adam",
    "global_motion_losses",
    "joint_positions",
    "published_emage_mask_ratio",
    "share_trunk",
    "vqvae_losses",
]

Points = Callable[[Tensor], Tensor]
"""Local rotations of all joints ``(B, T, J, 3, 3)`` to points on the body, metres, ``(B, T, V, 3)``."""

LATENT_WEIGHTS = dict.fromkeys(EmageParts._fields, 3.0)
CODE_WEIGHTS = {"face": 0.0, "upper": 1.0, "hands": 1.0, "lower": 1.0}
"""What each part counts in the transformer's losses, as published."""

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


class EmageTargets(NamedTuple):
    """What the transformer is to complete, and to say.

    Attributes:
        motion: ``(B, T, 337)``.
        hidden: Channels of absent parts, which no pass may show, ``(337,)``.
        indices: Of the codes of each part that is there, ``(B, T)``.
        codes: Their rows of the codebooks, ``(B, T, C)``.
    """

    motion: Tensor
    hidden: Tensor
    indices: EmageParts
    codes: EmageParts


class EmageLosses(NamedTuple):
    """The terms of the transformer: of latents and of codes, in each of the three passes; 0 where a pass was not run.

    Attributes:
        seed_latents: From speech and the first frames.
        seed_codes: The same.
        audio_latents: From speech and what a random mask shows.
        audio_codes: The same.
        mask_latents: From what the mask shows alone.
        mask_codes: The same.
    """

    seed_latents: Tensor
    seed_codes: Tensor
    audio_latents: Tensor
    audio_codes: Tensor
    mask_latents: Tensor
    mask_codes: Tensor

    @property
    def total(self) -> Tensor:
        """Their plain sum, as published."""
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


@torch.no_grad()
def emage_targets(codec: EmageMotionCodec, batch: EmageBatch) -> EmageTargets:
    """What the transformer learns from a batch, by the frozen motion networks of its data set."""
    parts = emage_parts(batch)
    indices = codec.encode(parts)
    codes = indices.map(lambda part, x: codec.vqvae(part).quantizer.lookup(x))
    motion = torch.cat([batch.rot6d, batch.translation, batch.contact], dim=-1)
    return EmageTargets(motion, _absent_channels(batch.parts).to(motion.device), indices, codes)


def emage_mask_ratio(iteration: int, num_iterations: int) -> float:
    """Which share of numbers is hidden: from 0.05 to 1 over the training, as the paper means it.

    Args:
        iteration: Steps done.
        num_iterations: Steps in all; as published 135 steps an epoch for 400 epochs.

    Example:
        >>> [round(emage_mask_ratio(i, 100), 3) for i in (0, 50, 100, 200)]
        [0.05, 0.525, 1.0, 1.0]
    """
    return min(iteration / num_iterations, 1.0) * 0.95 + 0.05


def published_emage_mask_ratio(iteration: int, *, steps_per_epoch: int = 135, num_epochs: int = 400) -> float:
    """The ratio that the published program uses, by a slip of brackets: all is hidden from the second step on.

    Example:
        >>> published_emage_mask_ratio(0), published_emage_mask_ratio(1) > 1
        (0.05, True)
    """
    return iteration / steps_per_epoch * num_epochs * 0.95 + 0.05


def draw_emage_mask(shape: Sequence[int], ratio: float, generator: torch.Generator) -> Tensor:
    """A random mask, True where hidden, each number by itself; drawn on the CPU, the same for every device."""
    return torch.rand(*shape, generator=generator) < ratio


def emage_losses(
    transformer: EmageTransformer,
    targets: EmageTargets,
    waveform: Tensor | None,
    speaker: Tensor,
    mask: Tensor,
    *,
    latent_weights: Mapping[str, float] = LATENT_WEIGHTS,
    code_weights: Mapping[str, float] = CODE_WEIGHTS,
) -> EmageLosses:
    """The terms of one step of the transformer.

    Speech is heard once for all passes. Without sound only the last pass is run, and without the face, which is
    decoded from speech.

    Args:
        transformer: In training mode.
        targets: Of ``B`` windows.
        waveform: ``(B, 533 T)``, or None.
        speaker: ``(B,)``.
        mask: Random, True where hidden, ``(B, T, 337)``.
        latent_weights: What each part's latents count.
        code_weights: What each part's codes count.

    Raises:
        ValueError: If no part is left that could learn anything, or a shape does not fit.
    """
    motion = targets.motion
    check_shape("mask", mask, " ".join(map(str, motion.shape)))
    mask = mask.to(motion.device) | targets.hidden
    seeded = targets.hidden.expand_as(mask).clone()
    seeded[:, transformer.config.seed_frames :] = True

    def terms(output: EmageOutput, absent: frozenset[str]) -> tuple[Tensor, Tensor]:
        indices, codes = (
            {part: None if part in absent else x for part, x in parts._asdict().items()}
            for parts in (targets.indices, targets.codes)
        )
        return (
            _of_parts(part_latent_loss, output.latents, codes, latent_weights),
            _of_parts(part_code_loss, output.logits, indices, code_weights),
        )

    if waveform is None:
        silence = EmageHeard(motion.new_zeros(*motion.shape[:2], transformer.config.audio_dim), ())
        output = transformer.complete(silence, motion, mask, speaker, use_audio=False)
        latents, codes = terms(output, frozenset({"face"}))
        if not (latents.requires_grad or codes.requires_grad):
            raise ValueError("Without sound a batch must hold another part than the face.")
        zero = motion.new_zeros(())
        return EmageLosses(zero, zero, zero, zero, latents, codes)
    heard = transformer.hear(waveform)
    found: list[Tensor] = []
    for hidden, use_audio in ((seeded, True), (mask, True), (mask, False)):
        output = transformer.complete(heard, motion, hidden, speaker, use_audio=use_audio)
        found += terms(output, frozenset())
    return EmageLosses(*found)


def share_trunk(transformer: EmageTransformer, data_sets: Iterable[str]) -> nn.ModuleDict:
    """One transformer for each data set; they share everything but the heads, which say codes of its own codebooks.

    Train the parameters of the whole (``.parameters()`` gives shared ones once), one data set a batch.

    Args:
        transformer: What each begins as.
        data_sets: Their names.

    Example:
        >>> from cospeech.models import EmageConfig
        >>> config = EmageConfig(hidden_dim=16, feedforward_dim=16, audio_dim=8, num_audio_layers=1, num_face_layers=1)
        >>> models = share_trunk(EmageTransformer(config), ["beat2", "amass"])
        >>> models["beat2"].body_in is models["amass"].body_in, models["beat2"].face_head is models["amass"].face_head
        (True, False)
    """
    heads = ("face_head", "part_head")
    shared: dict[int, object] = {id(x): x for name, x in transformer.named_children() if name not in heads}
    shared[id(transformer.mask_embedding)] = transformer.mask_embedding
    return nn.ModuleDict({name: copy.deepcopy(transformer, dict(shared)) for name in data_sets})


def emage_vq_adam(parameters: Iterable[nn.Parameter], learning_rate: float = 1.5e-4) -> torch.optim.Adam:
    """Adam as the motion networks were trained with; the rate fell to a tenth for the last 20 of 800 epochs."""
    return torch.optim.Adam(list(parameters), lr=learning_rate, betas=(0.5, 0.999), fused=True)


def _of_parts(
    loss: Callable[[Mapping[str, Tensor | None], Mapping[str, Tensor | None], Mapping[str, float]], Tensor],
    predicted: EmageParts,
    targets: Mapping[str, Tensor | None],
    weights: Mapping[str, float],
) -> Tensor:
    """The loss, or 0 if no part that is there counts."""
    if any(target is not None and weights.get(part) for part, target in targets.items()):
        return loss(predicted._asdict(), targets, weights)
    assert predicted.face is not None
    return predicted.face.new_zeros(())


def _absent_channels(parts: frozenset[str]) -> Tensor:
    """True for the channels of ``Emage337`` that belong to absent parts; the eyes belong to none."""
    joints = torch.zeros(SMPLX.num_joints, dtype=torch.bool)
    for part, its in EMAGE_PART_JOINTS.items():
        joints[list(its)] = part not in parts
    return torch.cat([joints.repeat_interleave(6), torch.tensor(["lower" not in parts] * 7)])


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
