"""What is known of a motion beforehand: any joints in any frames, for a network that completes the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.models import blank_emage_hints
from cospeech.motion import Motion
from cospeech.representations import Emage337
from cospeech.skeleton import SMPLX

__all__ = ["GestureHints", "HintChannels"]

_ROOT, _LEGS = 0, list(SMPLX.groups["lower"])


class HintChannels(NamedTuple):
    """Hints as the network takes them.

    Attributes:
        motion: Features of ``Emage337``, ``(T, 337)``; what is hidden is the unturned pose.
        hidden: True where the motion is hidden, ``(T, 337)``.
    """

    motion: Tensor
    hidden: Tensor

    def window(self, start: int, num_frames: int, *, like: Tensor) -> HintChannels:
        """Frames from ``start`` on; beyond the end all is hidden."""
        motion, hidden = (x[0] for x in blank_emage_hints(1, num_frames, like=like))
        count = len(self.motion[start : start + num_frames])
        motion[:count], hidden[:count] = (x[start : start + num_frames].to(like.device) for x in self)
        return HintChannels(motion, hidden)


@dataclass(frozen=True, eq=False)
class GestureHints:
    """Some joints in some frames of a motion, from its first frame on.

    The root's translation shows where the root does, foot contact where all of the lower body does. What is hidden may
    hold anything, NaN included.

    Attributes:
        motion: 55 joints at 30 Hz; its frames go with the first frames of the audio.
        visible: True for each joint that is given, bool, ``(T, J)``.
        exact: Whether visible joints come out as they were given. By default they come out as the network
            reconstructs them, as in the published program: close to the hints, and without a jump at their border.

    Raises:
        TypeError: If ``visible`` is not bool. (The published masks are numbers, and 1 means hidden.)
        ValueError: If joints, rate or shapes are others, or what is visible is not finite.

    Example:
        >>> pose = Motion(local_axis_angle=torch.zeros(4, 55, 3), translation=torch.zeros(4, 3), rate_hz=30)
        >>> hints = GestureHints(pose, torch.ones(4, 55, dtype=torch.bool))  # how the motion shall begin
        >>> hints.channels().hidden.any()
        tensor(False)
    """

    motion: Motion
    visible: Tensor
    exact: bool = False

    def __post_init__(self) -> None:
        motion, visible = self.motion, self.visible
        if motion.skeleton.parents != SMPLX.parents:
            raise ValueError(
                f"`motion` of hints must have the {SMPLX.num_joints} joints of SMPL-X; got "
                f"{motion.skeleton.num_joints}, or another tree."
            )
        if motion.rate_hz != 30:
            raise ValueError(f"`motion` of hints must run at 30 Hz; got {motion.rate_hz:g}. Use motion.resample.")
        if visible.dtype != torch.bool:
            raise TypeError(f"`visible` must be bool, True where a joint is given; got {visible.dtype}.")
        check_shape("visible", visible, f"{motion.num_frames} {SMPLX.num_joints}")
        broken = ~torch.isfinite(motion.local_axis_angle).all(-1)
        broken[:, _ROOT] |= ~torch.isfinite(motion.translation).all(-1)
        if bool((broken & visible).any()):
            frame, joint = (broken & visible).nonzero()[0].tolist()
            raise ValueError(f"Visible hints must be finite; {SMPLX.names[joint]} in frame {frame} is not.")

    def channels(self) -> HintChannels:
        """The hints as the network takes them."""
        visible, motion = self.visible, self.motion
        clean = replace(
            motion,
            local_axis_angle=motion.local_axis_angle.where(visible[..., None], motion.local_axis_angle.new_zeros(())),
            translation=motion.translation.where(visible[:, [_ROOT]], motion.translation.new_zeros(())),
        )
        legs = visible[:, _LEGS].all(dim=1, keepdim=True)
        shown = torch.cat(
            [visible.repeat_interleave(6, dim=1), visible[:, [_ROOT]].expand(-1, 3), legs.expand(-1, 4)], dim=1
        )
        features = Emage337().encode(clean).float()
        blank, _ = blank_emage_hints(1, len(features), like=features)
        return HintChannels(features.where(shown, blank[0]), ~shown)

    def paste(self, piece: Motion, first_frame: int) -> Motion:
        """A piece of generated motion, which begins at ``first_frame``, with the visible joints as they were given."""
        visible = self.visible[first_frame : first_frame + piece.num_frames].to(piece.device)
        count = len(visible)
        given = slice(first_frame, first_frame + count)
        axis_angle, translation = piece.local_axis_angle.clone(), piece.translation.clone()
        hints = self.motion.to(piece.device, axis_angle.dtype)
        axis_angle[:count] = hints.local_axis_angle[given].where(visible[..., None], axis_angle[:count])
        translation[:count] = hints.translation[given].where(visible[:, [_ROOT]], translation[:count])
        return replace(piece, local_axis_angle=axis_angle, translation=translation)
