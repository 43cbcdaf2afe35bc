"""Change of sampling rate by a windowed sinc, on whole waveforms or block by block.

The ratio of two rates is ``up / down``: after ``down`` samples in and ``up`` samples out the filter meets the samples
as before. So the outputs of one period, or of a few, are a matrix product of a stretch of the input, and all periods
together one large product, which is what processors are best at. A stream is cut between periods, always at the same
places: whole or in blocks, the bits are the same.

Reference:
    Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech.audio.clocks import rate_ratio

__all__ = ["SincFilter", "resample", "resample_blocks", "resampled_length"]

_BAND = 256  # outputs per product: more would multiply more zeros, fewer would be slower per number
_BLOCK_SAMPLES = 1 << 19  # of gathered input per product, 2 MB
_LONGEST_PERIOD = 50_000


class SincFilter(NamedTuple):
    """A low-pass filter: a sinc under a Kaiser window.

    Attributes:
        zero_crossings: Of the sinc on each side; the cost grows with it.
        rolloff: Cut-off (-6 dB) as a fraction of the lower of the two Nyquist frequencies.
        kaiser_beta: Shape of the window; 13.5 suppresses aliases by 130 dB.
    """

    zero_crossings: int = 100
    rolloff: float = 0.957
    kaiser_beta: float = 13.5


def resample(waveform: Tensor, from_hz: float, to_hz: float, *, sinc: SincFilter | None = None) -> Tensor:
    """A waveform at another sampling rate, aligned in time and as loud; differentiable.

    Args:
        waveform: Samples, ``(..., S)``, float32 or float64.
        from_hz: Its sampling rate.
        to_hz: The sampling rate wanted.
        sinc: The filter. The default passes 91 % of the band and stops at its end, as SoX's high quality does; on
            speech the two are 1e-5 apart.

    Returns:
        ``ceil(S * to_hz / from_hz)`` samples, ``(..., S')``; the input itself if the rates are equal.

    Raises:
        ValueError: If a rate is not positive, or the ratio of the rates is not one of small numbers.

    Example:
        >>> tuple(resample(torch.zeros(2, 44100), 44100, 16000).shape)
        (2, 16000)
    """
    if rate_ratio(from_hz, to_hz) == 1 or waveform.shape[-1] == 0:
        return waveform
    return torch.cat(list(resample_blocks([waveform], from_hz, to_hz, sinc=sinc)), dim=-1)


def resampled_length(num_samples: int, from_hz: float, to_hz: float) -> int:
    """How many samples ``resample`` makes of ``num_samples``."""
    return math.ceil(num_samples / rate_ratio(from_hz, to_hz))


def resample_blocks(
    blocks: Iterable[Tensor], from_hz: float, to_hz: float, *, sinc: SincFilter | None = None
) -> Iterator[Tensor]:
    """The same as ``resample`` on a stream: consecutive blocks in, consecutive blocks out, of other lengths.

    Args:
        blocks: Tensors ``(..., S)`` of any lengths.
        from_hz: Their sampling rate.
        to_hz: The sampling rate wanted.
        sinc: As for ``resample``.

    Yields:
        Tensors ``(..., S')``. Joined, they are bit for bit what ``resample`` makes of the joined input.

    Raises:
        ValueError: As ``resample``.
    """
    ratio = rate_ratio(to_hz, from_hz)
    if max(ratio.numerator, ratio.denominator) > _LONGEST_PERIOD:
        raise ValueError(f"Resampling from {from_hz} Hz to {to_hz} Hz needs a filter too long; round the rates.")
    kernel: _Kernel | None = None
    pending: list[Tensor] = []
    num_held = num_received = num_produced = 0
    for block in blocks:
        if kernel is None:
            kernel = _kernel(ratio, sinc or SincFilter(), block.dtype, block.device)
            pending, num_held = [block.new_zeros((*block.shape[:-1], kernel.context))], kernel.context
        pending.append(block)
        num_held += block.shape[-1]
        num_received += block.shape[-1]
        num_blocks = (num_held - kernel.overlap) // kernel.block_in
        if num_blocks < 1:
            continue
        held = torch.cat(pending, dim=-1)
        for index in range(num_blocks):
            yield kernel(held[..., index * kernel.block_in :], kernel.block_periods)
        num_produced += num_blocks * kernel.block_out
        pending = [held[..., num_blocks * kernel.block_in :].clone()]
        num_held = pending[0].shape[-1]
    if kernel is None:
        return
    remaining = math.ceil(num_received * ratio) - num_produced
    pending.append(pending[0].new_zeros((*pending[0].shape[:-1], kernel.block_in + kernel.overlap)))
    held = torch.cat(pending, dim=-1)
    while remaining > 0:
        periods = min(kernel.block_periods, -(-remaining // kernel.period_out))
        yield kernel(held, periods)[..., :remaining]
        held = held[..., kernel.block_in :]
        remaining -= kernel.block_out


class _Kernel(NamedTuple):
    """The filter as matrices: each makes a band of the outputs of a period from the stretch of input around them."""

    period_in: int
    period_out: int
    context: int  # samples that an output sees on each side
    overlap: int  # samples beyond its own periods that a product sees
    block_periods: int
    bands: list[tuple[int, Tensor]]  # first input sample, matrix

    @property
    def block_in(self) -> int:
        return self.block_periods * self.period_in

    @property
    def block_out(self) -> int:
        return self.block_periods * self.period_out

    def __call__(self, x: Tensor, periods: int) -> Tensor:
        """The outputs of the first ``periods`` periods of ``x``, which starts ``context`` samples before them."""
        outputs = []
        for first, matrix in self.bands:
            width = matrix.shape[0]
            stretch = x[..., first : first + (periods - 1) * self.period_in + width]
            outputs.append(stretch.unfold(-1, width, self.period_in) @ matrix)
        return torch.cat(outputs, dim=-1).flatten(-2)


@lru_cache(maxsize=4)  # a few MB for common rates, 80 MB for the oddest
@torch.inference_mode(False)  # a tensor born in inference mode could not serve a later backward pass
def _kernel(ratio: Fraction, sinc: SincFilter, dtype: torch.dtype, device: torch.device) -> _Kernel:
    periods = -(-_BAND // (2 * ratio.numerator))  # several short periods count as one
    period_out, period_in = ratio.numerator * periods, ratio.denominator * periods
    scale = min(1.0, float(ratio))  # the lower rate, in units of the rate of the input
    context = math.ceil(sinc.zero_crossings / scale)
    bands = []
    for start in range(0, period_out, _BAND):
        outputs = np.arange(start, min(start + _BAND, period_out))
        first = int(start / ratio)  # of the input samples that the band sees, counted from `context` before the period
        width = int(outputs[-1] / ratio) - first + 2 * context + 2
        inputs = first - context + np.arange(width)
        # Distance of each input from each output, in samples of the lower rate; exact integers up to the division.
        distance = (inputs[:, None] * ratio.numerator - outputs * ratio.denominator) / max(ratio.as_integer_ratio())
        inside = np.clip(1 - (distance / sinc.zero_crossings) ** 2, 0, None)
        window = np.i0(sinc.kaiser_beta * np.sqrt(inside)) / np.i0(sinc.kaiser_beta) * (inside > 0)
        weights = np.sinc(sinc.rolloff * distance) * window * (sinc.rolloff * scale)
        bands.append((first, torch.from_numpy(weights).to(dtype).to(device)))
    width = max(matrix.shape[0] for _, matrix in bands)
    overlap = max(first + matrix.shape[0] for first, matrix in bands) - period_in
    block_periods = max(_BLOCK_SAMPLES // max(width, period_in), 1)
    return _Kernel(period_in, period_out, context, overlap, block_periods, bands)
