"""How loud a waveform is over time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["amplitude_envelope", "loudness_decibel"]


def loudness_decibel(
    waveform: Tensor, *, window_samples: int = 2048, hop_samples: int = 512, floor_decibel: float = -100.0
) -> Tensor:
    """Root mean square of overlapping pieces, in decibels of full scale: a full-scale square wave has 0 dB.

    Args:
        waveform: Samples, ``(..., S)``.
        window_samples: Length of a piece.
        hop_samples: From piece to piece.
        floor_decibel: Value for silence, which other values approach smoothly.

    Returns:
        ``(..., 1 + S // hop_samples)``. Frame ``k`` is centred on sample ``k * hop_samples``, with silence beyond the
        ends; its power is that of ``librosa.feature.rms``, plus the floor.

    Raises:
        ValueError: If there are no samples.

    Example:
        >>> loudness_decibel(torch.full((4096,), 0.1))[3:6]
        tensor([-20., -20., -20.])
    """
    if waveform.shape[-1] == 0:
        raise ValueError("`waveform` must hold one sample at least; got none.")
    energy = F.pad(waveform.square(), (window_samples // 2, window_samples // 2))
    power = energy.unfold(-1, window_samples, hop_samples).mean(-1)
    return 10 * torch.log10(power + 10 ** (floor_decibel / 10))


def amplitude_envelope(waveform: Tensor, *, window_samples: int = 1024) -> Tensor:
    """The largest magnitude within the next ``window_samples``, for every sample.

    The amplitude channel of the speech input of EMAGE's first release, except at the end: where fewer samples follow,
    this takes those there are.

    Args:
        waveform: Samples, ``(..., S)``.
        window_samples: How many samples are looked at, the present one included.

    Returns:
        ``(..., S)``.
    """
    padded = F.pad(waveform.abs(), (0, window_samples - 1))
    return F.max_pool1d(padded.reshape(-1, 1, padded.shape[-1]), window_samples, stride=1).reshape(waveform.shape)
