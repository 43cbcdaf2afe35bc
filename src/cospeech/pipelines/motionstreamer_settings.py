"""What is asked of MotionStreamer: prompts, and how latents are drawn for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

__all__ = ["MotionStreamerSettings", "TextPrompt"]


class TextPrompt(NamedTuple):
    """What shall be done, and for how long.

    Attributes:
        text: A sentence, or its embedding ``(C,)``.
        seconds: How long, rounded up to whole latents; None leaves the end to the model.
    """

    text: str | Tensor
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class MotionStreamerSettings:
    """How latents are drawn.

    Attributes:
        guidance_scale: Published: 4 for single clips, 4.5 for streams; 1 halves the cost.
        num_steps: Of the diffusion head, 50 as published or fewer.
        solver: "ddpm" or "ddim", see ``motionstreamer_steps``.
        temperature: Factor on the noise of each ancestral step.
        history_latents: How many latents are read again when the text changes or all positions are taken.
        end_threshold: How close to the end latent a latent ends a prompt.
        max_seconds: After which a prompt without an end is over; 10.4 s is what the model was trained on.
    """

    guidance_scale: float = 4.0
    num_steps: int = 50
    solver: str = "ddpm"
    temperature: float = 1.0
    history_latents: int = 38
    end_threshold: float = 0.1
    max_seconds: float = 10.4
