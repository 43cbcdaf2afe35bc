"""What a motion file holds, before it becomes a ``Motion``."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cospeech.skeleton import Skeleton

__all__ = ["MotionArrays"]


class MotionArrays(NamedTuple):
    """The content of one motion file; the fields are those of ``cospeech.motion.Motion``.

    Attributes:
        local_axis_angle: Rotation of each joint in its parent's frame, radians, ``(T, J, 3)``.
        translation: Root joint minus its place in the rest pose, metres, ``(T, 3)``.
        expressions: Facial expression weights ``(T, E)``, or None.
        betas: Body shape weights ``(B,)``, or None.
        rate_hz: Frames per second.
        skeleton: The joints, in the order of axis ``J``.
        gender: As the file says.
        model: As the file says.
    """

    local_axis_angle: Tensor
    translation: Tensor
    expressions: Tensor | None
    betas: Tensor | None
    rate_hz: float
    skeleton: Skeleton
    gender: str = "neutral"
    model: str = "smplx2020"


def check_finite(arrays: MotionArrays) -> None:
    """Refuse to write what no reader of ours would take back.

    Raises:
        ValueError: If a tensor holds NaN or infinity.
    """
    for name, x in arrays._asdict().items():
        if isinstance(x, Tensor) and not bool(x.isfinite().all()):
            raise ValueError(f"`{name}` must be finite to be saved; it holds NaN or infinity.")
