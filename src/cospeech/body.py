"""SMPL-X vertices from motion, through the ``smplx`` package.

The licence of ``smplx`` and of the SMPL-X model files is for non-commercial research (https://smpl-x.is.tue.mpg.de). It
is imported here only, when a body model is made; motion, joints and export do without. Model files are the user's own.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.motion import Motion
from cospeech.skeleton import SMPLX, Skeleton

__all__ = ["BodyModel"]


class BodyModel(nn.Module):
    """The SMPL-X surface: vertices from a motion, and the skeleton that belongs to a body shape.

    Hands are flat at zero pose, as in BEAT2. Move it with ``.to(...)`` to where the motions are;
    vertices have its dtype.

    Args:
        model_path: A SMPL-X model file (``.npz`` or ``.pkl``), or the folder that holds ``SMPLX_NEUTRAL.npz`` and the
            like. Register at https://smpl-x.is.tue.mpg.de to get one.
        gender: Which file of a folder: "neutral", "female" or "male".

    Attributes:
        faces: Vertex indices of each triangle, ``(F, 3)``.
        hand_mean: The model file's mean hand pose, axis-angles of the 30 finger joints, ``(30, 3)``. Not used here;
            some published programs add it to every pose.

    Raises:
        FileNotFoundError: If there is no such model file.
        ValueError: If the gender is unknown, or the file holds another kind of body model.

    Example:
        >>> body = BodyModel("models/smplx")  # doctest: +SKIP
        >>> vertices = body(motion[:300])  # doctest: +SKIP
    """

    faces: Tensor
    hand_mean: Tensor
    template: Tensor
    shape_directions: Tensor
    expression_directions: Tensor
    pose_directions: Tensor
    joint_regressor: Tensor
    skinning_weights: Tensor

    def __init__(self, model_path: str | os.PathLike[str], *, gender: str = "neutral"):
        super().__init__()
        file = _find_model(Path(model_path), gender)
        from smplx import SMPLX as PublishedModel

        with contextlib.redirect_stdout(io.StringIO()):  # it prints about models with few shape components
            published = PublishedModel(
                str(file),
                ext=file.suffix[1:],
                gender=gender,
                num_betas=300,
                num_expression_coeffs=100,
                use_pca=False,
                flat_hand_mean=False,  # so that it can be read; ``forward`` works without
            )
        if tuple(published.parents.tolist()) != SMPLX.parents:
            raise ValueError(f"A SMPL-X model with {SMPLX.num_joints} joints is needed; {file} holds another tree.")
        # Copies as plain buffers: the published module carries a dozen pose parameters besides.
        for name, value in (
            ("faces", published.faces_tensor),
            ("hand_mean", torch.cat([published.left_hand_mean, published.right_hand_mean]).reshape(-1, 3)),
            ("template", published.v_template),
            ("shape_directions", published.shapedirs),
            ("expression_directions", published.expr_dirs),
            ("pose_directions", published.posedirs),
            ("joint_regressor", published.J_regressor),
            ("skinning_weights", published.lbs_weights),
        ):
            self.register_buffer(name, value.detach().clone(), persistent=False)

    def forward(self, motion: Motion, *, block_frames: int = 64) -> Tensor:
        """Vertices in the world.

        Args:
            motion: A clip on the 55 joints of SMPL-X. Its shape and expression weights are used if it has them; its
                skeleton's rest joints are not, the body's own follow from the shape.
            block_frames: Frames worked on at a time, which bounds the memory beyond the result.

        Returns:
            ``(T, V, 3)`` in metres.

        Raises:
            ValueError: If the motion has other joints, or weights that the model file has no components for.
        """
        from smplx.lbs import lbs

        if motion.skeleton.names != SMPLX.names:
            raise ValueError(f"A motion on SMPL-X's 55 joints is needed; got {motion.skeleton}.")
        pose = motion.local_axis_angle.to(self.template).flatten(1)
        translation = motion.translation.to(self.template)
        shape = self._weights("betas", motion.betas, self.shape_directions).expand(motion.num_frames, -1)
        expression = self._weights("expressions", motion.expressions, self.expression_directions)
        weights = torch.cat([shape, expression.expand(motion.num_frames, -1)], dim=-1)
        directions = torch.cat([self.shape_directions, self.expression_directions], dim=-1)
        parents = torch.tensor(SMPLX.parents, device=pose.device)
        blocks = []
        for start in range(0, motion.num_frames, block_frames):
            frames = slice(start, start + block_frames)
            vertices, _ = lbs(
                weights[frames],
                pose[frames],
                self.template,
                directions,
                self.pose_directions,
                self.joint_regressor,
                parents,
                self.skinning_weights,
            )
            blocks.append(vertices + translation[frames, None])
        return torch.cat(blocks)

    def skeleton(self, betas: Tensor | None = None) -> Skeleton:
        """SMPL-X with the rest joints of this body shape: ``(B,)`` weights, or none for the mean shape.

        Raises:
            ValueError: If the weights have another shape, or the model file has no components for them.
        """
        if betas is not None:
            check_shape("betas", betas, "B")
        surface = self.template + self.shape_directions @ self._weights("betas", betas, self.shape_directions)
        return SMPLX.with_rest_joints(self.joint_regressor @ surface)

    def _weights(self, name: str, weights: Tensor | None, directions: Tensor) -> Tensor:
        """``(..., W)`` weights fitted to the ``K`` components of the file: missing ones are zero."""
        components = directions.shape[-1]
        if weights is None:
            return directions.new_zeros(components)
        surplus = weights[..., components:]
        if surplus.numel() and bool(surplus.any()):
            raise ValueError(
                f"The model file has {components} components for `{name}`; the motion uses {weights.shape[-1]}. "
                "Use the model file with more."
            )
        fitted = weights[..., :components].to(directions)
        return nn.functional.pad(fitted, (0, components - fitted.shape[-1]))


def _find_model(path: Path, gender: str) -> Path:
    if gender not in ("neutral", "female", "male"):
        raise ValueError(f"Unknown gender {gender!r}; choose from neutral, female, male.")
    in_folder = [path / f"SMPLX_{gender.upper()}.{suffix}" for suffix in ("npz", "pkl")]
    candidates = in_folder if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            if candidate.suffix not in (".npz", ".pkl"):
                raise ValueError(f"A SMPL-X model file must end in .npz or .pkl; got {candidate}.")
            return candidate
    raise FileNotFoundError(
        f"No SMPL-X model at {' or '.join(map(str, candidates))}. Model files are not part of cospeech: "
        "get one at https://smpl-x.is.tue.mpg.de and give its path."
    )
