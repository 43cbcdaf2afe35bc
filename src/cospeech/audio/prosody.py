"""How something is said, frame by frame: loudness, spectral shape, onsets, voicing and pitch.

A window of speech becomes a sequence of features at the frame rate of the motion, computed from that window alone: what
a stream computes for a window is what a whole clip gets, and nothing needs training or downloading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cospeech.audio.clocks import rate_ratio
from cospeech.audio.mel import mel_filter_bank

__all__ = ["ProsodyConfig", "ProsodyFeatures"]

_RANGE_DECIBEL = 50.0  # what is further below the level of the window is not heard
_PITCH_BAND_HZ = (40.0, 1200.0)  # the harmonics that tell the pitch, without offset and rumble
_OCTAVE_COST = 0.03  # by which a pitch must be better than one an octave above it (Boersma)


@dataclass(frozen=True, kw_only=True)
class ProsodyConfig:
    """What ``ProsodyFeatures`` computes.

    Attributes:
        rate_hz: Sampling rate of the waveform.
        frame_rate_hz: Rate of the features.
        num_bands: Mel bands.
        low_hz: Where the first band starts.
        high_hz: Where the last one ends.
        spectra_per_frame: Short spectra per frame, for onsets to be seen between frames.
        spectrum_seconds: Length of such a spectrum.
        pitch_seconds: Length of the piece whose periodicity is measured; two periods of the lowest pitch at least.
        lowest_pitch_hz: Lowest fundamental frequency.
        octaves: Range of the fundamental frequency.
        pitches_per_octave: Candidates in an octave.
        silence_decibel: Level (of full scale) below which a window counts as silent.
    """

    rate_hz: float = 16000
    frame_rate_hz: float = 30
    num_bands: int = 24
    low_hz: float = 60.0
    high_hz: float = 7600.0
    spectra_per_frame: int = 4
    spectrum_seconds: float = 0.032
    pitch_seconds: float = 0.064
    lowest_pitch_hz: float = 60.0
    octaves: float = 2.75
    pitches_per_octave: int = 32
    silence_decibel: float = -55.0


class ProsodyFeatures(nn.Module):
    """Waveform windows ``(..., S)`` to features ``(..., T, C)``; no weights, device and precision of the input.

    Channels, each scaled to about [-1, 1] by fixed constants (``feature_names``):

    ====================  ============================================================================================
    ``num_bands`` first   level of the mel bands (pre-emphasised, so that they are about equally strong)
    level, change         level of the frame, and half its change from the frame before to the frame after
    onset                 onset strength: rises of the bands, over all steps within the frame
    voicing               0 for noise and silence, 1 for a periodic sound
    pitch                 octaves above 150 Hz, 0 where unvoiced
    relative pitch        octaves above the mean pitch of the window, 0 where unvoiced
    ====================  ============================================================================================

    Levels are decibels relative to the mean power of the window, to which that of a barely audible hiss
    (``silence_decibel``) is added: a change of recording gain changes nothing, yet silence is not blown up to speech.
    The frames divide the window evenly. Frame ``k`` looks at the surroundings of the middle of its own span, about
    ``(k + 1/2) / frame_rate_hz``; near the ends of the window it looks at the nearest piece that lies within, so there
    is no edge to be mistaken for an onset.

    Example:
        >>> features = ProsodyFeatures()
        >>> features(torch.zeros(2, 32000)).shape, features.feature_dim
        (torch.Size([2, 60, 30]), 30)
    """

    def __init__(self, config: ProsodyConfig | None = None):
        super().__init__()
        self.config = config or ProsodyConfig()
        self.rate_hz, self.frame_rate_hz = self.config.rate_hz, self.config.frame_rate_hz
        bands = [f"band {number}" for number in range(self.config.num_bands)]
        self.feature_names = (*bands, "level", "change", "onset", "voicing", "pitch", "relative pitch")
        self.feature_dim = len(self.feature_names)

    def num_frames(self, num_samples: int) -> int:
        """Frames made of ``num_samples``: the nearest number, one at least."""
        return max(1, math.floor(num_samples / rate_ratio(self.rate_hz, self.frame_rate_hz) + 0.5))

    def forward(self, waveform: Tensor) -> Tensor:
        """Features of windows: ``(..., S)`` to ``(..., T, C)``, ``T = num_frames(S)``.

        Raises:
            ValueError: If there are no samples.
        """
        if waveform.shape[-1] == 0:
            raise ValueError("`waveform` must hold one sample at least; got none.")
        config, num_frames = self.config, self.num_frames(waveform.shape[-1])
        # Half precision has no Fourier transform, and too few digits for this.
        dtype = torch.promote_types(waveform.dtype, torch.float32)
        windows = waveform.reshape(-1, waveform.shape[-1]).to(dtype)
        windows = windows - windows.mean(-1, keepdim=True)
        tables = _tables(config, dtype, waveform.device)

        # Mean square in each band and, in the last column, in all of the spectrum that is heard.
        power = _powers(
            windows,
            num_frames * config.spectra_per_frame,
            tables.spectrum_window,
            len(tables.spectrum_window),
            tables.bank,
        )
        bands, total = power[..., :-1], power[..., -1:]  # (B, T * n, C)
        reference = total.mean(1, keepdim=True) + 10 ** (config.silence_decibel / 10)  # (B, 1, 1)
        fine_levels = _level(bands, reference)
        rises = (fine_levels[:, 1:] - fine_levels[:, :-1]).clamp(min=0).mean(-1, keepdim=True)
        onset = _by_frame(F.pad(rises, (0, 0, 1, 0)), num_frames).sum(2)
        level = _level(_by_frame(total, num_frames).mean(2), reference)
        padded = torch.cat([level[:, :1], level, level[:, -1:]], dim=1)

        voicing, pitch = _pitch(windows, num_frames, reference, config, tables)
        voiced = ((voicing - 0.35) * 5).clamp(0, 1)
        mean_pitch = (voiced * pitch).sum(1, keepdim=True) / (voiced.sum(1, keepdim=True) + 1e-3)
        features = [
            _level(_by_frame(bands, num_frames).mean(2), reference) / 20 + 1.4,
            level / 20 + 0.5,
            (padded[:, 2:] - padded[:, :-2]) / 20,
            onset / 10,
            voicing,
            voiced * pitch,
            voiced * (pitch - mean_pitch),
        ]
        return torch.cat(features, dim=-1).reshape(*waveform.shape[:-1], num_frames, -1).to(waveform.dtype)


def _powers(windows: Tensor, count: int, window: Tensor, transform: int, weights: Tensor) -> Tensor:
    """Weighted sums over the power spectra of ``count`` pieces: ``(B, S)`` to ``(B, count, C)``.

    The weights, ``(bins * 2, C)``, hold each bin twice, for the squares of its real and its imaginary part.
    """
    num_samples, length = windows.shape[-1], len(window)
    windows = F.pad(windows, (0, max(length - num_samples, 0)))
    centres = (torch.arange(count, device=windows.device, dtype=torch.float64) + 0.5) * (num_samples / count)
    # Evenly over the window, but never beyond it.
    starts = (centres - length / 2).round().long().clamp(0, windows.shape[-1] - length)
    pieces = windows.unfold(-1, length, 1)[:, starts] * window
    spectrum = torch.view_as_real(torch.fft.rfft(pieces, n=transform)).flatten(-2)[..., : len(weights)]
    return spectrum.square() @ weights


def _pitch(
    windows: Tensor, count: int, reference: Tensor, config: ProsodyConfig, tables: _Tables
) -> tuple[Tensor, Tensor]:
    """Strength in [0, 1] and octaves above 150 Hz of the best period of ``count`` pieces, ``(B, T, 1)`` each.

    The autocorrelation, by way of the power spectrum, is divided by that of the window, so that long periods are not
    held back (Boersma, "Accurate short-term analysis of the fundamental frequency", IFA Proceedings 17, 1993).
    """
    power = _powers(windows, count, tables.pitch_window, _pitch_transform(config), tables.pitch_weights)
    energy, correlation = power[..., -1:], power[..., :-1]
    strength = correlation / (energy + reference * 10 ** (-_RANGE_DECIBEL / 10))  # (B, T, pitches)
    best = (strength.detach() - tables.pitch_costs).argmax(-1, keepdim=True).clamp(1, strength.shape[-1] - 2)
    below, at, above = (strength.gather(-1, best + step) for step in (-1, 0, 1))
    # The vertex of the parabola through the best candidate and its neighbours.
    curvature = (2 * at - below - above).clamp(min=1e-6)
    offset = ((above - below) / (2 * curvature)).clamp(-0.5, 0.5)
    octaves = (best + offset) / config.pitches_per_octave + math.log2(config.lowest_pitch_hz / 150)
    return at.clamp(0, 1), octaves


def _by_frame(x: Tensor, num_frames: int) -> Tensor:
    """``(B, T * n, C)`` to ``(B, T, n, C)``."""
    return x.reshape(x.shape[0], num_frames, -1, x.shape[-1])


def _level(power: Tensor, reference: Tensor) -> Tensor:
    """Decibels of power relative to the reference, -50 where there is none."""
    return 10 * torch.log10(power / reference + 10 ** (-_RANGE_DECIBEL / 10))


class _Tables(NamedTuple):
    """What a config fixes; the weights as ``_powers`` takes them."""

    spectrum_window: Tensor
    bank: Tensor
    pitch_window: Tensor
    pitch_weights: Tensor
    pitch_costs: Tensor


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a tensor born in inference mode could not serve a later backward pass
def _tables(config: ProsodyConfig, dtype: torch.dtype, device: torch.device) -> _Tables:
    spectrum_window = torch.hann_window(round(config.spectrum_seconds * config.rate_hz), dtype=torch.float64)
    pitch_window = torch.hann_window(round(config.pitch_seconds * config.rate_hz), dtype=torch.float64)
    pitch_weights, pitch_costs = _pitch_tables(config, pitch_window)
    tables = (spectrum_window, _bank(config, spectrum_window), pitch_window, pitch_weights, pitch_costs)
    return _Tables(*(table.to(dtype).to(device) for table in tables))


def _bank(config: ProsodyConfig, window: Tensor) -> Tensor:
    """Mel triangles of peak 1 times the response of the pre-emphasis ``1 - 0.97 / z``; last, all of the spectrum."""
    length = len(window)
    bank = mel_filter_bank(
        config.num_bands,
        window_samples=length,
        rate_hz=config.rate_hz,
        low_hz=config.low_hz,
        high_hz=config.high_hz,
        norm="none",
    )
    bins = torch.arange(len(bank), dtype=torch.float64)
    emphasis = 1 + 0.97**2 - 2 * 0.97 * torch.cos(bins * (2 * math.pi / length))
    heard = bins >= config.low_hz * config.spectrum_seconds  # neither offset nor rumble
    return _from_squares(torch.cat([bank * emphasis[:, None], heard[:, None]], dim=1), window, length)


def _pitch_tables(config: ProsodyConfig, window: Tensor) -> tuple[Tensor, Tensor]:
    """From spectra to autocorrelations at the periods of the candidates, and the cost of each candidate.

    The last column gives the energy, which is the autocorrelation at 0.
    """
    length = _pitch_transform(config)
    steps = torch.arange(round(config.octaves * config.pitches_per_octave) + 1, dtype=torch.float64)
    periods = config.rate_hz / (config.lowest_pitch_hz * 2 ** (steps / config.pitches_per_octave))  # in samples
    bins = torch.arange(length // 2 + 1, dtype=torch.float64)[:, None]
    cosines = torch.cos(bins * torch.cat([periods, periods.new_zeros(1)]) * (2 * math.pi / length))
    window_power = torch.fft.rfft(window, n=length).abs().square()
    window_correlation = window_power @ cosines / window_power.sum()
    hertz = bins * config.rate_hz / length
    heard = (hertz >= _PITCH_BAND_HZ[0]) & (hertz <= _PITCH_BAND_HZ[1])
    weights = _from_squares(torch.where(heard, cosines / window_correlation, 0), window, length)
    last = 2 * int(heard.flatten().nonzero().max()) + 2
    return weights[:last], _OCTAVE_COST * (steps / config.pitches_per_octave).flip(0)


def _from_squares(weights: Tensor, window: Tensor, length: int) -> Tensor:
    """Weights of power, per bin, as weights of the squares of real and imaginary parts of a windowed transform."""
    return weights.repeat_interleave(2, dim=0) * (2 / (length * window.square().sum()))


def _pitch_transform(config: ProsodyConfig) -> int:
    """A Fourier length at which the longest period does not wrap around."""
    length = config.pitch_seconds * config.rate_hz + config.rate_hz / config.lowest_pitch_hz
    return math.ceil(length / 256) * 256
