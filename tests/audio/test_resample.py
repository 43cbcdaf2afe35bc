"""Change of sampling rate."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.audio import SincFilter, resample
from cospeech.audio.resample import resample_blocks, resampled_length

PAIRS = [(44100, 16000), (48000, 16000), (22050, 16000), (16000, 18000), (8000, 16000), (16000, 8000), (11127, 16000)]


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_tone_below_both_limits_stays_the_same_tone(from_hz: int, to_hz: int) -> None:
    hertz = 0.44 * min(from_hz, to_hz)
    source = torch.sin(2 * torch.pi * hertz * torch.arange(from_hz, dtype=torch.float64) / from_hz)
    wanted = torch.sin(2 * torch.pi * hertz * torch.arange(to_hz, dtype=torch.float64) / to_hz)
    inside = slice(300, -300)  # the ends see the silence beyond
    torch.testing.assert_close(resample(source, from_hz, to_hz)[inside], wanted[inside], atol=2e-6, rtol=0)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    source = torch.sin(2 * torch.pi * 8100 * torch.arange(44100, dtype=torch.float64) / 44100)
    assert resample(source, 44100, 16000)[300:-300].abs().max() < 1e-5  # -100 dB


def test_twin_slow_sum() -> None:
    """The definition: each output is the sum of all inputs times the filter at their distance."""
    generator = torch.Generator().manual_seed(0)
    source, sinc = torch.randn(70, generator=generator, dtype=torch.float64).numpy(), SincFilter(12, 0.9, 8.0)
    for from_hz, to_hz in ((441, 160), (160, 441), (7, 5)):
        scale = min(1, to_hz / from_hz)
        wanted = []
        for n in range(resampled_length(len(source), from_hz, to_hz)):
            x = (np.arange(len(source)) * to_hz - n * from_hz) / max(from_hz, to_hz)
            window = np.i0(8 * np.sqrt(np.clip(1 - (x / 12) ** 2, 0, None))) / np.i0(8.0) * (np.abs(x) < 12)
            wanted.append(np.sum(source * np.sinc(0.9 * x) * window) * 0.9 * scale)
        ours = resample(torch.from_numpy(source), from_hz, to_hz, sinc=sinc)
        np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-12)


def test_twin_soxr() -> None:
    source = torch.randn(44100, generator=torch.Generator().manual_seed(0))
    theirs = librosa.resample(source.numpy(), orig_sr=44100, target_sr=16000)
    # White noise is the hardest: all of the transition band is full of it. On speech the difference is 1e-5.
    assert np.abs(resample(source, 44100, 16000).numpy() - theirs)[300:-300].std() < 4e-4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=5), st.sampled_from(PAIRS))
def test_in_blocks_the_bits_are_the_same(lengths: list[int], pair: tuple[int, int]) -> None:
    source = torch.randn(sum(lengths), generator=torch.Generator().manual_seed(1))
    blocks = list(resample_blocks(source.split(lengths), *pair))
    joined = torch.cat(blocks) if blocks else source
    assert torch.equal(joined, resample(source, *pair))
    assert len(joined) == resampled_length(sum(lengths), *pair)


def test_leading_axes_precision_and_equal_rates() -> None:
    source = torch.randn(2, 3, 500, generator=torch.Generator().manual_seed(0))
    batch = resample(source, 48000, 16000)
    assert batch.shape == (2, 3, 167)
    torch.testing.assert_close(batch[1, 2], resample(source[1, 2], 48000, 16000))
    assert resample(source.double(), 48000, 16000).dtype == torch.float64
    assert resample(source, 16000, 16000.0) is source
    assert resample(source[..., :0], 48000, 16000).shape == (2, 3, 0)
    assert resample(source[..., :1], 48000, 16000).shape == (2, 3, 1)


def test_gradient_also_after_inference_mode() -> None:
    sinc = SincFilter(4, 0.9, 5.0)
    source = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        resample(source, 3, 2, sinc=sinc)  # fills the table that the next call uses
    assert torch.autograd.gradcheck(lambda x: resample(x, 3, 2, sinc=sinc), source.requires_grad_())


def test_rates_without_a_short_period_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Resampling from 44100\.137 Hz to 16000 Hz needs a filter too long"):
        resample(torch.zeros(10), 44100.137, 16000)
    with pytest.raises(ValueError, match="positive number of hertz"):
        resample(torch.zeros(10), 0, 16000)
