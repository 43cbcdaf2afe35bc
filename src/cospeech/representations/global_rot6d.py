"""GlobalDiff's features: every joint's rotation in the world, and where the root is.

333 channels for SMPL-X: the first two rows of each joint's global rotation matrix (joint by joint, ``6 J``), then the
root translation in metres. Nothing is normalised. Expressions, where wanted, follow behind.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from cospeech._checks import check_shape
from cospeech.motion import Motion
from cospeech.representations.layout import Layout
from cospeech.representations.representation import Representation
from cospeech.rotations import matrix_to_axis_angle, matrix_to_rot6d, rot6d_to_matrix
from cospeech.skeleton import SMPLX, Skeleton, global_to_local

__all__ = ["GlobalRot6D", "globaldiff_flip"]


@dataclass(frozen=True, kw_only=True)
class GlobalRot6D(Representation):
    """Global rotations as Rot6D rows, translation, and expressions if any.

    Attributes:
        num_expressions: Channels of expressions behind the translation.
        rate_hz: Frames per second of every clip.
        skeleton: The joints.
        matrix_to_axis_angle: How decoded rotations become axis-angles. Ours is exact;
            ``globaldiff_matrix_to_axis_angle`` gives the published numbers.

    Example:
        >>> import torch
        >>> motion = Motion(local_axis_angle=0.1 * torch.randn(9, 55, 3), translation=torch.zeros(9, 3), rate_hz=30)
        >>> features = GlobalRot6D().encode(motion)
        >>> features.shape
        torch.Size([9, 333])
        >>> torch.allclose(GlobalRot6D().decode(features).local_axis_angle, motion.local_axis_angle, atol=1e-5)
        True
    """

    num_expressions: int = 0
    rate_hz: float = 30.0
    skeleton: Skeleton = SMPLX
    matrix_to_axis_angle: Callable[[Tensor], Tensor] = matrix_to_axis_angle

    @property
    def layout(self) -> Layout:
        """Rotations, translation and, if there are any, expressions."""
        sizes = {"rotations": 6 * self.skeleton.num_joints, "translation": 3}
        return Layout(sizes | ({"expressions": self.num_expressions} if self.num_expressions else {}))

    def encode(self, motion: Motion) -> Tensor:
        """Features ``(T, C)`` of a clip; its expressions are left out where ``num_expressions`` is 0.

        Raises:
            ValueError: If rate, joints or the number of expressions are others.
        """
        if motion.rate_hz != self.rate_hz:
            raise ValueError(f"`motion` must run at {self.rate_hz:g} Hz; got {motion.rate_hz:g}. Use motion.resample.")
        if motion.skeleton.parents != self.skeleton.parents:
            raise ValueError(
                f"`motion` must have the {self.skeleton.num_joints} joints of the representation's skeleton; "
                f"got {motion.skeleton.num_joints}, or another tree."
            )
        parts = {
            "rotations": matrix_to_rot6d(motion.global_rotations()).flatten(-2),
            "translation": motion.translation.to(motion.local_axis_angle.dtype),
        }
        if self.num_expressions:
            if motion.expressions is None:
                raise ValueError(f"`motion` must have {self.num_expressions} expressions; got none.")
            parts["expressions"] = motion.expressions.to(motion.local_axis_angle.dtype)
        return self.layout.join(parts)

    def decode(self, features: Tensor) -> Motion:
        """The clip of features ``(T, C)``, whose rows need not be orthonormal.

        Raises:
            ValueError: If the features do not have this layout.
        """
        check_shape("features", features, f"T {self.layout.dim}")
        parts = self.layout.split(features)
        global_rotations = rot6d_to_matrix(parts["rotations"].reshape(len(features), -1, 6))
        return Motion(
            local_axis_angle=self.matrix_to_axis_angle(global_to_local(global_rotations, self.skeleton)),
            # Copies: a view would keep the features alive for as long as the clip.
            translation=parts["translation"].clone(),
            expressions=parts["expressions"].clone() if self.num_expressions else None,
            rate_hz=self.rate_hz,
            skeleton=self.skeleton,
        )


def globaldiff_flip(axis_angle: Tensor, translation: Tensor, skeleton: Skeleton = SMPLX) -> tuple[Tensor, Tensor]:
    """Left and right exchanged as GlobalDiff's training does it; for a true mirror see ``cospeech.skeleton``.

    Pairs of joints and the root are mirrored. The published quirk: midline joints other than the root (spine, neck,
    head, jaw) are not, which moves joints by up to 5 cm.

    Args:
        axis_angle: Global or local rotations, radians, ``(..., J, 3)``.
        translation: Metres, ``(..., 3)``.
        skeleton: Tells the pairs.

    Returns:
        Rotations and translation of the flipped clip, shaped as given.
    """
    check_shape("axis_angle", axis_angle, f"... {skeleton.num_joints} 3")
    check_shape("translation", translation, "... 3")
    flipped = axis_angle[..., list(skeleton.mirror_permutation), :]
    mirrored = [joint for pair in skeleton.mirror_pairs for joint in pair] + [skeleton.parents.index(-1)]
    signs = axis_angle.new_ones(skeleton.num_joints, 3)
    signs[mirrored] = signs.new_tensor([1.0, -1.0, -1.0])
    return flipped * signs, translation * translation.new_tensor([-1.0, 1.0, 1.0])
