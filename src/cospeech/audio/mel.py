"""Mel spectrograms, equal to librosa's, in PyTorch: any leading axes, any device, differentiable.

Time comes before bands, ``(..., T, C)``, as everywhere in this package; librosa has them the other way round. Frame
``k`` is centred on sample ``k * hop_samples``, the waveform being padded on both sides.

Reference:
    Slaney, "Auditory Toolbox", Interval Research report 1998-010; Young et al., "The HTK Book", 2006 (both scales).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["hertz_to_mel", "mel_filter_bank", "mel_spectrogram", "mel_to_hertz", "power_to_decibel"]

# Slaney's scale: linear up to 1 kHz (15 mel), then logarithmic, 27 mel for a factor of 6.4.
_LINEAR_HZ_PER_MEL = 200 / 3
_CORNER_HZ, _CORNER_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27

# A block of spectra of 2048 samples is 8 MB: it stays in the cache between FFT, square and product.
_BLOCK_SAMPLES = 1 << 19
_BAND_GROUPS = 8


def hertz_to_mel(hertz: Tensor, *, scale: Literal["slaney", "htk"] = "slaney") -> Tensor:
    """Frequencies on the mel scale.

    Raises:
        ValueError: If the scale is unknown.
    """
    _check_choice("scale", scale, ("slaney", "htk"))
    if scale == "htk":
        return 2595 * torch.log10(1 + hertz / 700)
    above = _CORNER_MEL + torch.log(hertz.clamp(min=_CORNER_HZ) / _CORNER_HZ) / _LOG_STEP
    return torch.where(hertz < _CORNER_HZ, hertz / _LINEAR_HZ_PER_MEL, above)


def mel_to_hertz(mel: Tensor, *, scale: Literal["slaney", "htk"] = "slaney") -> Tensor:
    """The inverse of ``hertz_to_mel``."""
    _check_choice("scale", scale, ("slaney", "htk"))
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _CORNER_HZ * torch.exp((mel.clamp(min=_CORNER_MEL) - _CORNER_MEL) * _LOG_STEP)
    return torch.where(mel < _CORNER_MEL, mel * _LINEAR_HZ_PER_MEL, above)


def mel_filter_bank(
    num_bands: int,
    *,
    window_samples: int,
    rate_hz: float,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    scale: Literal["slaney", "htk"] = "slaney",
    norm: Literal["slaney", "none"] = "slaney",
) -> Tensor:
    """Overlapping triangles, evenly spaced in mel, that sum the bins of a spectrum to bands.

    Args:
        num_bands: Number of triangles.
        window_samples: Length of the Fourier transform.
        rate_hz: Sampling rate.
        low_hz: Where the first triangle starts.
        high_hz: Where the last one ends; half the sampling rate by default.
        scale: The mel scale.
        norm: ``"slaney"`` gives each triangle an area of 1 (in Hz), ``"none"`` a peak of 1.

    Returns:
        float64 ``(window_samples // 2 + 1, num_bands)``.

    Raises:
        ValueError: If a choice is unknown or the range of frequencies is empty.
    """
    _check_choice("norm", norm, ("slaney", "none"))
    high_hz = rate_hz / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high_hz:
        raise ValueError(f"`low_hz` must lie in [0, high_hz); got low_hz={low_hz}, high_hz={high_hz}.")
    ends = hertz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64), scale=scale)
    steps = torch.linspace(0, 1, num_bands + 2, dtype=torch.float64)
    corners = mel_to_hertz(ends[0] + steps * (ends[1] - ends[0]), scale=scale)
    bins = torch.arange(window_samples // 2 + 1, dtype=torch.float64)[:, None] * (rate_hz / window_samples)
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    bank = torch.minimum(rising, falling).clamp(min=0)
    return bank * 2 / (corners[2:] - corners[:-2]) if norm == "slaney" else bank


def mel_spectrogram(
    waveform: Tensor,
    *,
    rate_hz: float,
    window_samples: int = 2048,
    hop_samples: int = 512,
    num_bands: int = 128,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    power: float = 2.0,
    scale: Literal["slaney", "htk"] = "slaney",
    norm: Literal["slaney", "none"] = "slaney",
    padding: Literal["constant", "reflect"] = "constant",
) -> Tensor:
    """Energy over time and mel bands.

    Args:
        waveform: Samples, ``(..., S)``, float32 or float64.
        rate_hz: Their sampling rate.
        window_samples: Length of the (periodic) Hann window and of the Fourier transform.
        hop_samples: From frame to frame.
        num_bands: Mel bands.
        low_hz: Where the first band starts.
        high_hz: Where the last one ends; half the sampling rate by default.
        power: Exponent of the magnitude: 2 for power, 1 for amplitude.
        scale: As for ``mel_filter_bank``.
        norm: As for ``mel_filter_bank``.
        padding: What lies beyond the ends: silence, or the reflected waveform.

    Returns:
        ``(..., 1 + S // hop_samples, num_bands)``; within 1e-5 of the maximum of ``librosa.feature.melspectrogram``,
        transposed.

    Raises:
        ValueError: If there are no samples, or too few to reflect.

    Example:
        >>> mel_spectrogram(torch.zeros(16000), rate_hz=16000).shape
        torch.Size([32, 128])
    """
    num_samples, margin = waveform.shape[-1], window_samples // 2
    if num_samples == 0 or (padding == "reflect" and num_samples <= margin):
        least = 1 if padding == "constant" else margin + 1
        raise ValueError(f"`waveform` must hold {least} samples at least; got {num_samples}.")
    leading = waveform.shape[:-1]
    padded = F.pad(waveform.reshape(-1, 1, num_samples), (margin, margin), mode=padding).squeeze(1)
    frames = padded.unfold(-1, window_samples, hop_samples)  # a view: (B, T, window)
    bank = _grouped_bank(
        num_bands, window_samples, rate_hz, low_hz, high_hz, scale, norm, waveform.device, waveform.dtype
    )
    window = torch.hann_window(window_samples, dtype=waveform.dtype, device=waveform.device)
    bands = [
        _frames_to_bands(block, window, bank, power)
        for clip in frames
        for block in clip.split(max(_BLOCK_SAMPLES // window_samples, 1))
    ]
    return torch.cat(bands).reshape(*leading, -1, num_bands)


def power_to_decibel(power: Tensor, *, floor: float = 1e-10, range_decibel: float | None = 80.0) -> Tensor:
    """Power spectrograms ``(..., T, C)`` in decibels relative to 1.

    Args:
        power: Power, not negative.
        floor: Smallest power that is told from none.
        range_decibel: What lies further below the loudest value of a clip (over ``T`` and ``C``) is raised to it; None
            keeps all.

    Returns:
        Decibels, of the same shape. librosa takes the loudest value of a whole batch, this function of each clip.
    """
    decibel = 10 * torch.log10(power.clamp(min=floor))
    if range_decibel is None:
        return decibel
    return torch.maximum(decibel, decibel.amax(dim=(-2, -1), keepdim=True) - range_decibel)


def _frames_to_bands(frames: Tensor, window: Tensor, bank: list[tuple[int, int, Tensor]], power: float) -> Tensor:
    spectrum = torch.view_as_real(torch.fft.rfft(frames * window)).flatten(-2)  # real and imaginary parts in turn
    energy = spectrum.square()
    if power != 2:
        # The square root of 0 has no gradient; the smallest normal number stands in for it.
        total = energy.reshape(len(energy), -1, 2).sum(-1).clamp(min=torch.finfo(energy.dtype).tiny)
        energy = (total ** (power / 2) / 2).repeat_interleave(2, dim=-1)
    return torch.cat([energy[:, start:end] @ weights for start, end, weights in bank], dim=-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a tensor born in inference mode could not serve a later backward pass
def _grouped_bank(
    num_bands: int,
    window_samples: int,
    rate_hz: float,
    low_hz: float,
    high_hz: float | None,
    scale: Literal["slaney", "htk"],
    norm: Literal["slaney", "none"],
    device: torch.device,
    dtype: torch.dtype,
) -> list[tuple[int, int, Tensor]]:
    """The filter bank in groups of neighbouring bands, each with the stretch of the spectrum that it sees.

    A band sees few of the bins, so a product by groups does an eighth of the arithmetic of a product with all of the
    bank. Each row of weights is there twice, for the squares of the real and of the imaginary part.
    """
    bank = mel_filter_bank(
        num_bands,
        window_samples=window_samples,
        rate_hz=rate_hz,
        low_hz=low_hz,
        high_hz=high_hz,
        scale=scale,
        norm=norm,
    )
    groups = []
    for columns in torch.split(bank, -(-num_bands // _BAND_GROUPS), dim=1):
        seen = columns.any(dim=1).nonzero().flatten().tolist() or [0]
        first, last = seen[0], seen[-1] + 1
        weights = columns[first:last].repeat_interleave(2, dim=0).to(dtype).to(device)
        groups.append((2 * first, 2 * last, weights))
    return groups


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Unknown {name} '{value}'; choose from {', '.join(choices)}.")
