"""MotionStreamer's features: a path and heading told by their changes, joints and local rotations without heading.

272 channels at 30 frames per second for the 22 body joints of SMPL-X, metres:

| name | channels | meaning |
| --- | --- | --- |
| root_velocity | 2 | step of the root in x and z from the previous frame, in that frame's heading; first frame 0 |
| heading_change | 6 | turn since the previous frame, first two rows of the matrix; first frame none |
| positions | 66 | joints with the root at x = z = 0 and the heading taken off; the lowest of a clip touches y = 0 |
| velocities | 66 | differences of the above; first frame 0 |
| rotations | 132 | local rotations, first two rows; the root's with the heading taken off |

Where a clip stands and which way it faces at first is not told. Positions and rotations say the same twice, so there
are two ways back: ``decode_joints`` by positions, ``decode`` by rotations. Both add up heading and path, so both can go
on from a state: a stream of features becomes a stream of motion.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025, section 3.2; numbers follow the published program, as the comments say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.motion import Motion
from cospeech.representations.emage337 import emage_matrix_to_axis_angle
from cospeech.representations.layout import Layout
from cospeech.representations.published_rotations import pytorch3d_quaternion_to_axis_angle
from cospeech.representations.representation import Representation
from cospeech.rotations import (
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    matrix_to_rot6d,
    quaternion_apply,
    quaternion_multiply,
    rot6d_to_matrix,
)
from cospeech.skeleton import SMPL22, SMPLX, Skeleton

__all__ = [
    "STREAMER_LAYOUT",
    "RootPath",
    "RootState",
    "Streamer272",
    "face_forward",
    "recover_root",
    "streamer_features",
    "streamer_joints",
    "streamer_smpl85",
]

_NUM_JOINTS = SMPL22.num_joints

STREAMER_LAYOUT = Layout(
    {
        "root_velocity": 2,
        "heading_change": 6,
        "positions": 3 * _NUM_JOINTS,
        "velocities": 3 * _NUM_JOINTS,
        "rotations": 6 * _NUM_JOINTS,
    }
)
"""The 272 channels by name."""


class RootState(NamedTuple):
    """Where a decoded stream has come to.

    Attributes:
        heading: Product of all heading changes so far; turns the world into the heading's frame, ``(..., 3, 3)``.
        position: Of the root in x and z, metres, ``(..., 2)``.
    """

    heading: Tensor
    position: Tensor


class RootPath(NamedTuple):
    """Heading and path added up.

    Attributes:
        undo: Takes each frame's heading back into the world, ``(..., T, 3, 3)``.
        position: Of the root in x and z, metres, ``(..., T, 2)``.
        state: From which the next frames go on.
    """

    undo: Tensor
    position: Tensor
    state: RootState


@dataclass(frozen=True, kw_only=True)
class Streamer272(Representation):
    """The 272 channels as a representation of ``Motion``, whole clips or streams.

    Attributes:
        rate_hz: Frames per second of every clip.
        skeleton: The joints of decoded clips: ``SMPLX``, whose hands and face then stay at rest, or ``SMPL22``.
        matrix_to_axis_angle: How decoded rotations become axis-angles. Ours is exact; ``emage_matrix_to_axis_angle``
            gives the published numbers.

    Example:
        >>> turns, path = 0.1 * torch.randn(9, 55, 3), torch.randn(9, 3).cumsum(0)
        >>> motion = Motion(local_axis_angle=turns, translation=path, rate_hz=30)
        >>> representation = Streamer272()
        >>> features = representation.encode(motion)
        >>> features.shape
        torch.Size([9, 272])
        >>> again = representation.decode(features)
        >>> torch.allclose(again.joints()[:, :22], representation.decode_joints(features), atol=1e-4)
        True
    """

    rate_hz: float = 30.0
    skeleton: Skeleton = SMPLX
    matrix_to_axis_angle: Callable[[Tensor], Tensor] = matrix_to_axis_angle

    def __post_init__(self) -> None:
        if self.skeleton.parents[:_NUM_JOINTS] != SMPL22.parents:
            raise ValueError(f"`skeleton` must begin with the {_NUM_JOINTS} body joints of SMPL-X.")

    @property
    def layout(self) -> Layout:
        """Velocity, heading, positions, velocities, rotations."""
        return STREAMER_LAYOUT

    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, 272)`` of a clip, turned to face +Z at its first frame and put on the floor.

        Raises:
            ValueError: If the rate is another, or the first joints are not the 22 of the body.
        """
        if motion.rate_hz != self.rate_hz:
            raise ValueError(f"`motion` must run at {self.rate_hz:g} Hz; got {motion.rate_hz:g}. Use motion.resample.")
        if motion.skeleton.parents[:_NUM_JOINTS] != SMPL22.parents:
            raise ValueError(f"`motion` must begin with the {_NUM_JOINTS} body joints of SMPL-X; got another tree.")
        # Heading is taken off every frame, and the path is told in it: which way a clip faces at first shows nowhere.
        return streamer_features(motion.local_rotations()[:, :_NUM_JOINTS], motion.joints()[:, :_NUM_JOINTS])

    def decode(self, features: Tensor) -> Motion:
        """The clip of features ``(T, 272)`` by rotations, on this skeleton; it starts above the origin, facing +Z."""
        return self.step(features, self.init_state(features))[0]

    def decode_joints(self, features: Tensor) -> Tensor:
        """Joints ``(..., T, 22, 3)`` in metres by positions, with the bone lengths that the features tell."""
        return streamer_joints(features)

    def init_state(self, like: Tensor) -> RootState:
        """The state before the first frame, in dtype and place of ``like``."""
        return RootState(torch.eye(3).to(like), torch.zeros(2).to(like))

    def step(self, features: Tensor, state: RootState) -> tuple[Motion, RootState]:
        """The next frames of a stream, and the state that follows them.

        Raises:
            ValueError: If the features do not have this layout.
        """
        check_shape("features", features, f"T {STREAMER_LAYOUT.dim}")
        parts = STREAMER_LAYOUT.split(features)
        root = recover_root(features, state)
        rotations = rot6d_to_matrix(_by_joint(parts["rotations"]))
        rotations[..., 0, :, :] = root.undo @ rotations[..., 0, :, :]
        whole = features.new_zeros(len(features), self.skeleton.num_joints, 3)
        whole[:, :_NUM_JOINTS] = self.matrix_to_axis_angle(rotations)
        pelvis = _pelvis(parts["positions"], root.position)
        rest = self.skeleton.rest_joints[0].to(pelvis)
        motion = Motion(local_axis_angle=whole, translation=pelvis - rest, rate_hz=self.rate_hz, skeleton=self.skeleton)
        return motion, root.state


def streamer_features(local_rotations: Tensor, joints: Tensor) -> Tensor:
    """The 272 channels from rotations and joints of the 22.

    Args:
        local_rotations: ``(T, 22, 3, 3)``.
        joints: In the world, metres, ``(T, 22, 3)``.

    Returns:
        ``(T, 272)``.
    """
    check_shape("local_rotations", local_rotations, f"T {_NUM_JOINTS} 3 3")
    check_shape("joints", joints, f"{len(local_rotations)} {_NUM_JOINTS} 3")
    joints = joints - joints.new_tensor([1.0, 0.0, 1.0]) * joints[0, 0]
    joints[..., 1] -= joints[..., 1].min()
    steps = joints[:, 0].diff(dim=0, prepend=joints[:1, 0])
    centred = joints - joints.new_tensor([1.0, 0.0, 1.0]) * joints[:, :1]

    root = local_rotations[:, 0]
    heading = -torch.atan2(root[:, 0, 2], root[:, 2, 2])
    off = _about_y(heading)
    change = _about_y(heading.diff(prepend=heading[:1]))
    positions = centred @ off.mT
    velocity = (torch.cat([off[:1], off[:-1]]) @ steps[..., None])[..., 0]
    rotations = torch.cat([(off @ root)[:, None], local_rotations[:, 1:]], dim=1)
    return STREAMER_LAYOUT.join(
        {
            "root_velocity": velocity[:, [0, 2]],
            "heading_change": matrix_to_rot6d(change),
            "positions": positions.flatten(-2),
            "velocities": positions.diff(dim=0, prepend=positions[:1]).flatten(-2),
            "rotations": matrix_to_rot6d(rotations).flatten(-2),
        }
    )


def streamer_joints(features: Tensor) -> Tensor:
    """Joints ``(..., T, 22, 3)`` in metres, by the positions in features ``(..., T, 272)``."""
    root = recover_root(features)
    positions = _by_joint(STREAMER_LAYOUT.split(features)["positions"])
    joints = positions @ root.undo.mT
    path = torch.stack([root.position[..., 0], torch.zeros_like(root.position[..., 0]), root.position[..., 1]], dim=-1)
    return joints + path[..., None, :]


def streamer_smpl85(features: Tensor) -> Tensor:
    """The published "SMPL-85" of features ``(..., T, 272)``: 66 axis-angle, 6 zeros, 3 pelvis position, 10 zeros.

    Note:
        The published program calls the pelvis position a translation; SMPL's leaves out where the pelvis rests.
        ``Streamer272.decode`` takes that off.
    """
    parts, root = STREAMER_LAYOUT.split(features), recover_root(features)
    rotations = rot6d_to_matrix(_by_joint(parts["rotations"]))
    rotations[..., 0, :, :] = root.undo @ rotations[..., 0, :, :]
    axis_angle = emage_matrix_to_axis_angle(rotations).flatten(-2)
    zeros = torch.zeros_like(axis_angle)
    return torch.cat([axis_angle, zeros[..., :6], _pelvis(parts["positions"], root.position), zeros[..., :10]], dim=-1)


def recover_root(features: Tensor, state: RootState | None = None) -> RootPath:
    """Heading and path that features ``(..., T, 272)`` add up to, from a state on; by default from the origin.

    The product of heading changes is taken in the published order, later on the left, by doubling: as many steps as
    the logarithm of the frames.
    """
    parts = STREAMER_LAYOUT.split(features)
    turns = rot6d_to_matrix(parts["heading_change"])
    before = torch.eye(3).to(turns).expand_as(turns[..., 0, :, :]) if state is None else state.heading
    heading = _running_product(torch.cat([before.unsqueeze(-3), turns], dim=-3))
    velocity = parts["root_velocity"]
    steps = torch.stack([velocity[..., 0], torch.zeros_like(velocity[..., 0]), velocity[..., 1]], dim=-1)
    # A step is told in the heading before it.
    steps = (heading[..., :-1, :, :].mT @ steps[..., None])[..., 0][..., [0, 2]]
    position = steps.cumsum(dim=-2)
    if state is not None:
        position = position + state.position.unsqueeze(-2)
    follows = RootState(heading[..., -1, :, :], position[..., -1, :])
    return RootPath(heading[..., 1:, :, :].mT, position, follows)


def face_forward(axis_angle: Tensor, translation: Tensor) -> tuple[Tensor, Tensor]:
    """A clip turned about the vertical so that its first frame faces +Z; it turns about the origin.

    Args:
        axis_angle: Local rotations, radians, ``(T, J, 3)``; the root is joint 0.
        translation: Metres, ``(T, 3)``.

    Note:
        As published, an angle of the root's rotation may come out between pi and 2 pi.
    """
    check_shape("axis_angle", axis_angle, "T J 3")
    root = axis_angle_to_quaternion(axis_angle[:, 0])
    forward = quaternion_apply(root[0], root.new_tensor([0.0, 0.0, 1.0]))
    half = -0.5 * torch.atan2(forward[0], forward[2])
    turn = torch.stack([half.cos(), torch.zeros_like(half), half.sin(), torch.zeros_like(half)]).expand_as(root)
    turned = pytorch3d_quaternion_to_axis_angle(quaternion_multiply(turn, root))
    return torch.cat([turned[:, None], axis_angle[:, 1:]], dim=1), quaternion_apply(turn, translation)


def _running_product(matrices: Tensor) -> Tensor:
    """``M_t @ ... @ M_0`` for each ``t``, ``(..., T, 3, 3)``."""
    shift = 1
    while shift < matrices.shape[-3]:
        later = matrices[..., shift:, :, :] @ matrices[..., :-shift, :, :]
        matrices = torch.cat([matrices[..., :shift, :, :], later], dim=-3)
        shift *= 2
    return matrices


def _pelvis(positions: Tensor, path: Tensor) -> Tensor:
    return torch.stack([path[..., 0], positions[..., 1], path[..., 1]], dim=-1)


def _about_y(angle: Tensor) -> Tensor:
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    rows = [cosine, zero, sine, zero, torch.ones_like(angle), zero, -sine, zero, cosine]
    return torch.stack(rows, dim=-1).reshape(*angle.shape, 3, 3)


def _by_joint(channels: Tensor) -> Tensor:
    return channels.reshape(*channels.shape[:-1], _NUM_JOINTS, -1)
