"""DiffSHEG end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cospeech.models import DiffSHEGDenoiser, DiffSHEGModulations
from cospeech.samplers import Predict

__all__ = ["bind_denoiser"]


def bind_denoiser(
    denoiser: DiffSHEGDenoiser,
    mel: Tensor,
    speech: Tensor,
    speaker: Tensor,
    timesteps: Sequence[float],
    *,
    modulations: Mapping[float, DiffSHEGModulations] | None = None,
    guidance_scale: float = 1.0,
) -> Predict:
    """The denoiser with its conditions, as a sampler sees it; what all calls share is done here, once.

    Args:
        denoiser: The network.
        mel: Of the window, ``(B, T, mel_dim)``.
        speech: Of the window, ``(B, T, speech_feature_dim)``.
        speaker: ``(B,)``.
        timesteps: At which it will be called.
        modulations: By timestep, where they are kept from window to window.
        guidance_scale: See the denoiser.
    """
    conditionings = denoiser.prepare(
        mel,
        speech,
        speaker,
        torch.tensor([int(timestep) for timestep in timesteps], device=mel.device),
        modulations=None if modulations is None else [modulations[timestep] for timestep in timesteps],
        guidance_scale=guidance_scale,
    )
    at = dict(zip(timesteps, conditionings, strict=True))
    return lambda noisy, timestep: denoiser.denoise(noisy, at[timestep])
