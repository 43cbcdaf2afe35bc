"""Trunk and legs: breathing, leaning, and the weight going from foot to foot while the feet stay where they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cospeech.data.synthetic.curves import Track, slow_noise
from cospeech.data.synthetic.limbs import solve_two_bones
from cospeech.data.synthetic.speakers import SpeakerStyle
from cospeech.data.synthetic.stress import Stresses
from cospeech.rotations import axis_angle_to_matrix
from cospeech.skeleton import SMPLX

__all__ = ["BALL_HEIGHT", "TrunkPlan", "plan_trunk", "pose_legs", "rotation_about"]

BALL_HEIGHT = 0.02  # metres from the ground to the joint at the ball of the foot
STANCE_DROP = 0.014  # metres by which the pelvis hangs below straight legs: knees are never locked


class TrunkPlan(NamedTuple):
    """The trunk over time; angles in radians."""

    weight: NDArray[np.float64]  # (T) from -1 (on the right foot) to 1 (on the left foot)
    pelvis: NDArray[np.float64]  # (T, 3) offset of the pelvis from its place, metres
    pelvis_turn: NDArray[np.float64]  # (T, 3) axis-angle
    spine_bend: NDArray[np.float64]  # (T, 3) axis-angle, shared out over the three spine joints
    breath: NDArray[np.float64]  # (T) from -1 to 1


def plan_trunk(
    stresses: Stresses, style: SpeakerStyle, seconds: NDArray[np.float64], generator: np.random.Generator
) -> TrunkPlan:
    """Weight shifts every few seconds, a slight dip of the trunk on each stress, sway and breath.

    The clip starts in the speaker's rest pose: everything drawn fades in over the first second.
    """
    num_frames = len(seconds)
    fade_in = np.clip(seconds, 0.0, 1.0)[:, None]
    weight, dip = Track([0.0]), Track([0.0])
    clock = generator.uniform(1.0, 5.0)
    while clock < seconds[-1]:
        weight.reach([generator.choice([-1.0, 0.0, 1.0])], clock, clock + generator.uniform(1.4, 2.2))
        clock += generator.uniform(4.0, 9.0)
    for vowel, strength in zip(*stresses, strict=True):
        end = vowel + 0.06
        dip.reach([0.012 + 0.14 * style.nod * strength], end - 0.3, end)
        dip.reach([0.0], end, end + 0.5)
    load = weight.curve(seconds)[:, 0]
    sway = fade_in * slow_noise(num_frames, 3, 22, generator)
    breath = np.sin(2 * np.pi * style.breath_hz * seconds)

    pelvis = np.zeros((num_frames, 3))
    pelvis[:, 0] = style.sway * load + 0.0015 * sway[:, 0]
    pelvis[:, 1] = -0.010 * load**2
    pelvis[:, 2] = 0.002 * sway[:, 1]
    turn = np.zeros((num_frames, 3))
    turn[:, 1] = 0.03 * load
    turn[:, 2] = 0.045 * load  # the hip of the free leg sinks
    spine = np.zeros((num_frames, 3))
    spine[:, 0] = style.lean + dip.curve(seconds)[:, 0] - 0.010 * breath
    spine[:, 1] = -0.03 * load + 0.015 * sway[:, 2]
    spine[:, 2] = -0.055 * load
    return TrunkPlan(load, pelvis, turn, spine, breath)


def rotation_about(axis: int, angle: NDArray[np.float64]) -> Tensor:
    """Rotations about x (0), y (1) or z (2), ``(T, 3, 3)``, from angles ``(T)`` in radians."""
    vector = np.zeros((len(angle), 3))
    vector[:, axis] = angle
    return axis_angle_to_matrix(torch.from_numpy(vector))


def pose_legs(local: Tensor, trunk: TrunkPlan, style: SpeakerStyle) -> Tensor:
    """Write pelvis, legs and feet into ``local``, and return the root translation that keeps the feet planted.

    The balls of the feet never move. The heel of a foot without weight comes up a little.

    Args:
        local: Local rotations ``(T, 55, 3, 3)``; joints 0, 1, 2, 4, 5, 7, 8, 10 and 11 are written.
        trunk: Where the pelvis is.
        style: How wide and how turned the feet stand.

    Returns:
        Translation of the root, ``(T, 3)`` in metres.
    """
    rest = SMPLX.rest_joints.double()
    pelvis_rotation = axis_angle_to_matrix(torch.from_numpy(trunk.pelvis_turn))
    height = rest[0, 1] - rest[[10, 11], 1].mean() + BALL_HEIGHT - STANCE_DROP - _stance_drop(style)
    pelvis = torch.from_numpy(trunk.pelvis) + torch.tensor([0.0, float(height), 0.0], dtype=torch.float64)
    local[:, 0] = pelvis_rotation
    for side, hip, knee, ankle, ball in ((1.0, 1, 4, 7, 10), (-1.0, 2, 5, 8, 11)):
        free = np.clip(-side * trunk.weight, 0.0, 1.0)
        flat = rotation_about(1, np.full(len(free), side * style.toe_out))
        foot = flat @ rotation_about(0, 0.16 * free)
        forward = 0.5 * side * style.left_foot_forward
        place = torch.tensor([side * style.half_stance, BALL_HEIGHT, 0.075 + forward], dtype=torch.float64)
        sole = rest[ball] - rest[ankle]
        sole = torch.stack([torch.zeros_like(sole[0]), sole[1], sole[[0, 2]].norm()])  # the foot points straight ahead
        straighten = _turn_onto(rest[ball] - rest[ankle], sole)
        target = place - (foot @ sole)
        root = pelvis + (pelvis_rotation @ (rest[hip] - rest[0]))
        toes_ahead = flat @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        limb = solve_two_bones(
            root, target, toes_ahead, rest[knee] - rest[hip], rest[ankle] - rest[knee], _axis(1.0, 0.0, 0.0)
        )
        fold = _axis(1.0, 0.0, 0.0)
        upper_bone = rest[knee] - rest[hip]
        fold = fold - upper_bone * (fold @ upper_bone) / (upper_bone @ upper_bone)
        bend = axis_angle_to_matrix(limb.hinge_angle[:, None] * (fold / fold.norm()))
        shin = limb.upper_rotation @ bend
        local[:, hip] = pelvis_rotation.transpose(-1, -2) @ limb.upper_rotation
        local[:, knee] = bend
        local[:, ankle] = shin.transpose(-1, -2) @ (foot @ straighten)
        local[:, ball] = (foot @ straighten).transpose(-1, -2) @ (flat @ straighten)
    return pelvis - rest[0]


def _stance_drop(style: SpeakerStyle) -> float:
    """How much lower the pelvis is over feet that stand apart."""
    leg, spread = 0.755, abs(style.half_stance - 0.06) + style.sway
    return leg - float(np.sqrt(leg**2 - spread**2 - (0.5 * style.left_foot_forward) ** 2))


def _turn_onto(start: Tensor, end: Tensor) -> Tensor:
    """The rotation about the vertical that brings the horizontal part of one vector onto that of another."""
    angle = torch.atan2(end[0], end[2]) - torch.atan2(start[0], start[2])
    return axis_angle_to_matrix(angle * _axis(0.0, 1.0, 0.0))


def _axis(x: float, y: float, z: float) -> Tensor:
    return torch.tensor([x, y, z], dtype=torch.float64)
