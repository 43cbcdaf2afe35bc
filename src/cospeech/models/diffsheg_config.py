"""Sizes of DiffSHEG's denoiser, and which of its branches sees the other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, cast

__all__ = ["DiffSHEGConfig"]

Flow = Literal["expression_to_gesture", "gesture_to_expression", "none", "joint"]

_BRANCHES: dict[Flow, tuple[str, ...]] = {
    "expression_to_gesture": ("expression", "gesture"),
    "gesture_to_expression": ("gesture", "expression"),
    "none": ("expression", "gesture"),
    "joint": ("joint",),
}


@dataclass(frozen=True, kw_only=True)
class DiffSHEGConfig:
    """Sizes of the denoiser; the defaults are those published for BEAT.

    Attributes:
        flow: Which branch sees the other's clean estimate. "expression_to_gesture" is the published model; its
            ablation's are "gesture_to_expression", "none", and "joint", one branch for all channels together.
        unconditional: Whether there is a learned vector for no condition, which guidance needs.
        num_timesteps: Levels of the diffusion process, whose variances rise linearly.
    """

    gesture_dim: int = 141
    expression_dim: int = 51
    mel_dim: int = 128
    speech_feature_dim: int = 1024
    num_speakers: int = 30
    hidden_dim: int = 512
    num_layers: int = 8
    num_heads: int = 8
    feedforward_dim: int = 1024
    fusion_dim: int = 1024
    condition_dim: int = 2048
    audio_dim: int = 256
    speech_dim: int = 128
    num_timesteps: int = 1000
    unconditional: bool = False
    flow: Flow = "expression_to_gesture"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 256 if field.name == "num_layers" else 1 << 16
            if isinstance(value, int) and not isinstance(value, bool) and not 1 <= value <= most:
                raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")
        if self.flow not in _BRANCHES:
            raise ValueError(f"Unknown flow {self.flow!r}; choose from {', '.join(_BRANCHES)}.")
        if self.hidden_dim % self.num_heads or self.mel_dim % self.num_heads:
            raise ValueError(f"`num_heads` must divide `hidden_dim` and `mel_dim`; got {self.num_heads}.")

    @classmethod
    def show(cls) -> DiffSHEGConfig:
        """The sizes published for SHOW."""
        return cls(gesture_dim=129, expression_dim=103, num_speakers=4, unconditional=True)

    @property
    def motion_dim(self) -> int:
        """Width of the motion vector."""
        return self.gesture_dim + self.expression_dim

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches in the order in which they run."""
        return _BRANCHES[self.flow]

    def channels(self, branch: str) -> slice:
        """Where a branch lives in the motion vector."""
        start = self.gesture_dim if branch == "expression" else 0
        stop = self.gesture_dim if branch == "gesture" else self.motion_dim
        return slice(start, stop)

    def estimate_dim(self, branch: str) -> int:
        """Channels of the other branch's estimate that a branch sees."""
        if self.flow in ("none", "joint") or branch == self.branches[0]:
            return 0
        other = self.channels(self.branches[0])
        return cast(int, other.stop - other.start)
