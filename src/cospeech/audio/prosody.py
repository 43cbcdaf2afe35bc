"""How something is said, frame by frame: loudness, spectral shape, onsets, voicing and pitch.

A window of speech becomes a sequence of features at the frame rate of the motion, computed from that window alone: what
a stream computes for a window is what a whole clip gets, and nothing needs training or downloading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cospeech.audio.clocks import rate_ratio
from cospeech.audio.mel import mel_filter_bank

__all__ = ["ProsodyConfig", "ProsodyFeatures"]

_RANGE_DECIBEL = 50.0  # what is further below the level of the window is not heard
_PITCH_BAND_HZ = 1200.0  # the harmonics that tell the pitch
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
    """Waveform windows ``(..., S)`` to features ``(..., T, C)``; no weights.

    Channels, each scaled to about [-1, 1] by fixed constants:

    ====================  ============================================================================================
    ``num_bands`` first   level of the mel bands (pre-emphasised, so that they are about equally strong)
    then                  level of the frame; its change from the frame before to the frame after; onset strength (rise
                          of the bands, summed); voicing (0 noise or silence, 1 periodic); pitch in octaves around
                          150 Hz; pitch around the mean of the window (both 0 where unvoiced)
    ====================  ============================================================================================

    Levels are decibels relative to the mean power of the window, to which that of a barely audible hiss
    (``silence_decibel``) is added: a change of recording gain changes nothing, yet silence is not blown up to speech.
    Frame ``k`` looks at the surroundings of the middle of its own span, ``(k + 1/2) / frame_rate_hz``; near the ends of
    the window it looks at the nearest piece that lies within, so there is no edge to be mistaken for an onset.

    Example:
        >>> features = ProsodyFeatures()
        >>> features(torch.zeros(2, 32000)).shape, features.feature_dim
        (torch.Size([2, 60, 30]), 30)
    """

    bank: Tensor
    spectrum_window: Tensor
    pitch_window: Tensor
    pitch_cosines: Tensor
    pitch_costs: Tensor

    def __init__(self, config: ProsodyConfig | None = None):
        super().__init__()
        self.config = config = config or ProsodyConfig()
        self.feature_dim = config.num_bands + 6
        self.rate_hz, self.frame_rate_hz = config.rate_hz, config.frame_rate_hz
        constants = {
            "bank": _emphasised_bank(config),
            "spectrum_window": torch.hann_window(round(config.spectrum_seconds * config.rate_hz), dtype=torch.float64),
            "pitch_window": torch.hann_window(round(config.pitch_seconds * config.rate_hz), dtype=torch.float64),
        }
        cosines, costs = _pitch_tables(config, constants["pitch_window"])
        for name, value in {**constants, "pitch_cosines": cosines, "pitch_costs": costs}.items():
            # Fixed by the config, so no part of a checkpoint.
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

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
        windows = waveform.reshape(-1, waveform.shape[-1]).to(self.bank.dtype)
        num_frames, config = self.num_frames(waveform.shape[-1]), self.config
        hiss = 10 ** (config.silence_decibel / 10)
        reference = windows.square().mean(-1, keepdim=True)[..., None] + hiss  # (B, 1, 1)

        power = self._short_spectra(windows, num_frames * config.spectra_per_frame)  # (B, T', bins)
        bands = power @ self.bank
        levels = _level(bands, reference)
        rises = (levels[:, 1:] - levels[:, :-1]).clamp(min=0).mean(-1)
        rises = nn.functional.pad(rises, (1, 0))
        onset = _by_frame(rises[..., None], num_frames).sum(2)
        bands_level = _level(_by_frame(bands, num_frames).mean(2), reference)
        level = _level(_by_frame(power.sum(-1, keepdim=True), num_frames).mean(2), reference)
        ends = torch.cat([level[:, :1], level, level[:, -1:]], dim=1)
        change = (ends[:, 2:] - ends[:, :-2]) / 2

        voicing, pitch = self._pitch(windows, num_frames, reference)
        mean_pitch = (voicing * pitch).sum(1, keepdim=True) / (voicing.sum(1, keepdim=True) + 1e-3)
        voiced = ((voicing - 0.35) * 5).clamp(0, 1)
        features = [
            bands_level / 20 + 1.4,
            level / 20 + 0.5,
            change / 10,
            onset / 10,
            voicing,
            voiced * pitch,
            voiced * (pitch - mean_pitch),
        ]
        return torch.cat(features, dim=-1).reshape(*waveform.shape[:-1], num_frames, -1).to(waveform.dtype)

    def _short_spectra(self, windows: Tensor, count: int) -> Tensor:
        """Power per sample in the bins of ``count`` short spectra; the sum over bins is the mean square."""
        pieces = _pieces(windows, self.spectrum_window.shape[0], count) * self.spectrum_window
        spectrum = torch.view_as_real(torch.fft.rfft(pieces)).square().sum(-1)
        return spectrum * (2 / (self.spectrum_window.square().sum() * self.spectrum_window.shape[0]))

    def _pitch(self, windows: Tensor, count: int, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Strength in [0, 1] and octaves around 150 Hz of the best period, ``(B, T, 1)`` each.

        The autocorrelation, by way of the power spectrum, is divided by that of the window, so that long periods are
        not held back (Boersma, "Accurate short-term analysis of the fundamental frequency", IFA Proceedings 17, 1993).
        """
        config, length = self.config, self.pitch_window.shape[0]
        pieces = _pieces(windows, length, count)
        pieces = (pieces - pieces.mean(-1, keepdim=True)) * self.pitch_window
        num_bins = self.pitch_cosines.shape[0]
        spectrum = torch.fft.rfft(pieces, n=_pitch_transform(config, length))[..., :num_bins]
        power = torch.view_as_real(spectrum).square().sum(-1)
        energy = power @ power.new_ones(num_bins, 1)
        quiet = reference * 10 ** (-_RANGE_DECIBEL / 10) * (self.pitch_window.square().sum() * length / 2)
        strength = (power @ self.pitch_cosines) / (energy + quiet)  # (B, T, pitches)
        best = (strength.detach() - self.pitch_costs).argmax(-1, keepdim=True).clamp(1, strength.shape[-1] - 2)
        below, at, above = (strength.gather(-1, best + step) for step in (-1, 0, 1))
        # The vertex of the parabola through the best candidate and its neighbours.
        curvature = (2 * at - below - above).clamp(min=1e-6)
        offset = ((above - below) / (2 * curvature)).clamp(-0.5, 0.5)
        octaves = (best + offset) / config.pitches_per_octave + math.log2(config.lowest_pitch_hz / 150)
        return at.clamp(0, 1), octaves


def _pieces(windows: Tensor, length: int, count: int) -> Tensor:
    """``(B, count, length)`` pieces of the windows, centred evenly over them but never reaching beyond."""
    num_samples = windows.shape[-1]
    if num_samples < length:
        windows = nn.functional.pad(windows, (0, length - num_samples))
    centres = (torch.arange(count, device=windows.device, dtype=torch.float64) + 0.5) * (num_samples / count)
    starts = (centres - length / 2).round().long().clamp(0, windows.shape[-1] - length)
    return windows.unfold(-1, length, 1)[:, starts]


def _by_frame(x: Tensor, num_frames: int) -> Tensor:
    """``(B, T * n, C)`` to ``(B, T, n, C)``."""
    return x.reshape(x.shape[0], num_frames, -1, x.shape[-1])


def _level(power: Tensor, reference: Tensor) -> Tensor:
    """Decibels of power relative to the reference, -50 where there is none."""
    return 10 * torch.log10(power / reference + 10 ** (-_RANGE_DECIBEL / 10))


def _emphasised_bank(config: ProsodyConfig) -> Tensor:
    """Mel triangles of peak 1 times the response of the pre-emphasis filter ``1 - 0.97 / z``."""
    length = round(config.spectrum_seconds * config.rate_hz)
    bank = mel_filter_bank(
        config.num_bands,
        window_samples=length,
        rate_hz=config.rate_hz,
        low_hz=config.low_hz,
        high_hz=config.high_hz,
        norm="none",
    )
    angles = torch.arange(length // 2 + 1, dtype=torch.float64) * (2 * math.pi / length)
    return bank * (1 + 0.97**2 - 2 * 0.97 * torch.cos(angles))[:, None]


def _pitch_transform(config: ProsodyConfig, length: int) -> int:
    """A Fourier length at which the longest period does not wrap around."""
    return -(-(length + math.ceil(config.rate_hz / config.lowest_pitch_hz)) // 256) * 256


def _pitch_tables(config: ProsodyConfig, window: Tensor) -> tuple[Tensor, Tensor]:
    """From power spectrum to autocorrelation at the periods of the candidates, and the cost of each candidate."""
    length = _pitch_transform(config, window.shape[0])
    steps = torch.arange(round(config.octaves * config.pitches_per_octave) + 1, dtype=torch.float64)
    periods = config.rate_hz / (config.lowest_pitch_hz * 2 ** (steps / config.pitches_per_octave))  # in samples
    num_bins = min(int(_PITCH_BAND_HZ * length / config.rate_hz), length // 2) + 1

    def cosines(count: int) -> Tensor:
        return torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * periods * (2 * math.pi / length))

    window_power = torch.fft.rfft(window, n=length).abs().square()
    window_correlation = (window_power @ cosines(len(window_power))) / window_power.sum()
    return cosines(num_bins) / window_correlation, _OCTAVE_COST * (steps / config.pitches_per_octave).flip(0)
