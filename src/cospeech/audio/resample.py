"""Change of sampling rate by a windowed-sinc polyphase filter, on whole waveforms or block by block.

Both ways give the same bits: a stream is cut into blocks at output samples that are multiples of the up-factor, where
the filter has the same phase again, and each output is one dot product whichever block it falls into.

Reference:
    Smith, "Digital Audio Resampling", https://ccrma.stanford.edu/~jos/resample/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospeech.audio.clocks import rate_ratio

__all__ = ["SincFilter", "resample", "resample_blocks", "resampled_length"]

_BLOCK_SAMPLES = 1 << 18  # outputs per block, 1 MB: several blocks fit the cache of a small machine


class SincFilter(NamedTuple):
    """A low-pass filter: a sinc under a Kaiser window.

    Attributes:
        zero_crossings: Of the sinc on each side; the cost is proportional to it.
        rolloff: Cut-off (-6 dB) as a fraction of the lower of the two Nyquist frequencies.
        kaiser_beta: Shape of the window; 12.3 suppresses aliases by 120 dB.
    """

    zero_crossings: int = 64
    rolloff: float = 0.945
    kaiser_beta: float = 12.3


def resample(waveform: Tensor, from_hz: float, to_hz: float, *, sinc: SincFilter | None = None) -> Tensor:
    """A waveform at another sampling rate, aligned in time and with the same loudness.

    Args:
        waveform: Samples, ``(..., S)``. The work is done on the CPU in float32 (float64 for float64), without gradient.
        from_hz: Its sampling rate.
        to_hz: The sampling rate wanted.
        sinc: The filter; the default keeps 0 to 90 % of the band within 0.01 dB, aliases below -110 dB.

    Returns:
        ``ceil(S * to_hz / from_hz)`` samples, ``(..., S')``; the input itself if the rates are equal.

    Example:
        >>> tuple(resample(torch.zeros(2, 44100), 44100, 16000).shape)
        (2, 16000)
    """
    if rate_ratio(from_hz, to_hz) == 1:
        return waveform
    dtype = np.float64 if waveform.dtype == torch.float64 else np.float32
    samples = waveform.detach().cpu().to(torch.float64 if dtype == np.float64 else torch.float32).numpy()
    blocks = list(resample_blocks(iter([samples]), from_hz, to_hz, sinc=sinc))
    resampled = torch.from_numpy(np.concatenate(blocks, axis=-1)) if blocks else torch.from_numpy(samples)
    return resampled.to(waveform)


def resampled_length(num_samples: int, from_hz: float, to_hz: float) -> int:
    """How many samples ``resample`` makes of ``num_samples``."""
    return math.ceil(num_samples / rate_ratio(from_hz, to_hz))


def resample_blocks(
    blocks: Iterable[np.ndarray[Any, Any]], from_hz: float, to_hz: float, *, sinc: SincFilter | None = None
) -> Iterator[np.ndarray[Any, Any]]:
    """The same as ``resample`` on a stream: consecutive blocks in, consecutive blocks out, of other lengths.

    Args:
        blocks: Arrays ``(..., S)`` of float32 or float64, of any lengths.
        from_hz: Their sampling rate.
        to_hz: The sampling rate wanted.
        sinc: As for ``resample``.

    Yields:
        Arrays ``(..., S')``. Joined, they are bit for bit what ``resample`` makes of the joined input.
    """
    from scipy.signal import upfirdn  # here, for `import cospeech` to stay light

    ratio = rate_ratio(to_hz, from_hz)
    up, down = ratio.numerator, ratio.denominator
    taps = _taps(up, down, sinc or SincFilter())
    half = len(taps) // 2
    context = -(-half // up)  # input samples that an output sees on each side
    lead = -(half + context * up) % down  # zeros before the filter, for the first output of a block to be its centre
    first = (half + lead + context * up) // down
    taps = np.concatenate([np.zeros(lead), taps])

    step = max(_BLOCK_SAMPLES // up, 1)  # a block is step * up outputs, made of step * down inputs
    block_in, block_out = step * down, step * up
    pending: list[np.ndarray[Any, Any]] = []
    held = received = produced = 0
    for block in blocks:
        if not pending:
            pending = [np.zeros((*block.shape[:-1], context), block.dtype)]
            held = context
        pending.append(block)
        held += block.shape[-1]
        received += block.shape[-1]
        if held < block_in + 2 * context:
            continue
        joined = np.concatenate(pending, axis=-1)
        start = 0
        while joined.shape[-1] - start >= block_in + 2 * context:
            segment = joined[..., start : start + block_in + 2 * context]
            yield upfirdn(taps.astype(segment.dtype), segment, up, down)[..., first : first + block_out]
            start += block_in
            produced += block_out
        pending, held = [joined[..., start:].copy()], joined.shape[-1] - start
    if not received:
        return
    remaining = math.ceil(received * ratio) - produced
    tail = np.concatenate(pending, axis=-1)
    tail = np.concatenate([tail, np.zeros((*tail.shape[:-1], 2 * context), tail.dtype)], axis=-1)
    for offset in range(0, -(-remaining // block_out)):
        segment = tail[..., offset * block_in : (offset + 1) * block_in + 2 * context]
        count = min(block_out, remaining - offset * block_out)
        yield upfirdn(taps.astype(segment.dtype), segment, up, down)[..., first : first + count]


def _taps(up: int, down: int, sinc: SincFilter) -> np.ndarray[Any, Any]:
    """The filter at the common multiple of both rates, scaled to keep the amplitude: odd length, float64."""
    widest = max(up, down)
    half = sinc.zero_crossings * widest
    x = np.arange(-half, half + 1) / widest  # in samples of the lower rate
    window = np.kaiser(2 * half + 1, sinc.kaiser_beta)
    return np.asarray(np.sinc(sinc.rolloff * x) * window * (sinc.rolloff * up / widest))
