"""Errors of faces: on the body model's surface where the user has the licensed file, else on coefficients."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from torch import Tensor

from cospeech.body import BodyModel
from cospeech.errors import EvaluationError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.protocols import Protocol
from cospeech.metrics import expression_error, expression_lvd, expression_mse, position_lvd, velocity_lvd, vertex_mse
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX

__all__ = ["SurfaceModel", "expression_measures", "face_measures"]

_BLOCK_FRAMES = 64
_JAW = SMPLX.index("jaw")


class SurfaceModel:
    """A body model file as the published programs use it: shape of the recorded clip, hands' mean pose, face alone.

    Args:
        path: A SMPL-X model file or its folder, see ``BodyModel``.

    Attributes:
        hand_mean: Mean hand pose, ``(30, 3)``.
    """

    def __init__(self, path: str | os.PathLike[str]):
        try:
            self.body = BodyModel(path)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"The body model cannot be used: {error}") from error
        self.hand_mean = self.body.hand_mean

    def rest_joints(self, betas: Tensor | None) -> Tensor:
        """Of a shape, ``(55, 3)``."""
        return self.body.skeleton(betas).rest_joints

    def face(self, motion: Motion, betas: Tensor | None) -> Tensor:
        """Vertices ``(T, V, 3)`` with this shape, of expressions and jaw alone."""
        axis_angle = torch.zeros_like(motion.local_axis_angle)
        axis_angle[:, _JAW] = motion.local_axis_angle[:, _JAW]
        still = replace(
            motion, local_axis_angle=axis_angle, translation=torch.zeros_like(motion.translation), betas=betas
        )
        vertices: Tensor = self.body(still, block_frames=_BLOCK_FRAMES)
        return vertices


def face_measures(
    surface: SurfaceModel, generated: Motion, reference: Motion, protocol: Protocol
) -> dict[str, tuple[float, float]]:
    """``face_mse`` and ``face_lvd`` of all vertices, a block of frames at a time.

    Each block's values are weighted by what its mean is over, so the blocks do not show.
    """
    num_frames = generated.num_frames
    squares = steps = 0.0
    for start in range(0, num_frames, _BLOCK_FRAMES):
        # With one frame of the block before, whose step to this one counts here.
        frames = slice(max(0, start - 1), start + _BLOCK_FRAMES)
        ours, theirs = (surface.face(motion[frames], reference.betas) for motion in (generated, reference))
        new = slice(min(1, start), None)
        squares += float(vertex_mse(ours[new], theirs[new])) * len(ours[new])
        if len(ours) > 1:
            lvd = position_lvd if protocol.face_lvd == "position" else velocity_lvd
            steps += float(lvd(ours, theirs)) * (len(ours) - 1)
    found = {"face_mse": (squares / num_frames, float(num_frames))}
    terms = num_frames if protocol.face_lvd == "velocity_over_frames" else num_frames - 1
    if num_frames > 1:
        found["face_lvd"] = (steps / terms, float(num_frames))
    return {name: value for name, value in found.items() if name in protocol.measures}


def expression_measures(
    clip: ClipMeasures, generated: Motion, reference: Motion, protocol: Protocol
) -> dict[str, tuple[float, float]]:
    """Errors of expression coefficients, which need no body model."""
    wanted = set(protocol.measures) & {"expression_error", "expression_mse", "expression_lvd"}
    ours, theirs = generated.expressions, reference.expressions
    if not wanted or ours is None or theirs is None:
        return {}
    if ours.shape != theirs.shape:
        clip.notes.append("expressions of another width than the reference's: left out")
        return {}
    # GlobalDiff's mean over clips is not weighted by their length.
    weight = 1.0 if protocol.name == "globaldiff" else float(clip.num_frames)
    found = {
        "expression_error": float(expression_error(ours, theirs)),
        "expression_mse": float(expression_mse(ours, theirs)),
    }
    if len(ours) > 1:
        found["expression_lvd"] = float(expression_lvd(ours, theirs))
    return {name: (value, weight) for name, value in found.items() if name in wanted}
