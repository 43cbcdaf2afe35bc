"""Causal convolutions: streaming equals offline however a clip is cut, and the future changes nothing."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.nn import CausalConv1d, CausalResidual, StreamingLayer, StreamingSequence, run_chunks


def cuts(length: int, stride: int):
    """All ways of cutting so many frames into chunks that the stride divides."""
    if not length:
        return [[]]
    return [[n, *rest] for n in range(stride, length + 1, stride) for rest in cuts(length - n, stride)]


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (3, 1, 4), (4, 2, 1), (5, 2, 3)])
def test_every_cut_gives_the_whole(kernel_size, stride, dilation):
    conv = CausalConv1d(3, 5, kernel_size, stride=stride, dilation=dilation).double()
    clip = torch.randn(2, 3, 8, dtype=torch.float64)
    whole = conv(clip)
    for cut in cuts(8, stride):
        pieces = torch.cat(list(run_chunks(conv, clip.split(cut, dim=-1))), dim=-1)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-12)


def test_causal_convolution_is_padding_and_convolution():
    conv, clip = CausalConv1d(3, 5, kernel_size=3, dilation=2), torch.randn(2, 3, 9)
    expected = F.conv1d(F.pad(clip, (4, 0)), conv.conv.weight, conv.conv.bias, dilation=2)
    torch.testing.assert_close(conv(clip), expected)


@settings(deadline=None, max_examples=20)
@given(frame=st.integers(0, 11), seed=st.integers(0, 1000))
def test_future_leaves_the_past_bit_identical(frame, seed):
    torch.manual_seed(seed)
    network = StreamingSequence(CausalConv1d(4, 8, 3), torch.nn.ReLU(), CausalResidual(8, dilation=3))
    clip = torch.randn(1, 4, 12)
    changed = clip.clone()
    changed[..., frame:] = 7 * torch.randn(1, 4, 12 - frame)
    assert torch.equal(network(clip)[..., :frame], network(changed)[..., :frame])


def test_residual_pads_behind_the_activation():
    residual, x = CausalResidual(4, dilation=2), torch.randn(2, 4, 7)
    expected = x + residual.mix(F.relu(residual.dilated.conv(F.pad(F.relu(x), (4, 0)))))
    torch.testing.assert_close(residual(x), expected)


def test_two_streams_share_weights_and_not_state():
    conv, clips = CausalConv1d(3, 3, 3), torch.randn(2, 1, 3, 8)
    states, outputs = [conv.init_state(1), conv.init_state(1)], [[], []]
    for start in range(0, 8, 2):
        for i in range(2):
            y, states[i] = conv.step(clips[i][..., start : start + 2], states[i])
            outputs[i].append(y)
    for i in range(2):
        torch.testing.assert_close(torch.cat(outputs[i], -1), conv(clips[i]))


def test_streaming_layers_are_told_apart():
    assert isinstance(CausalConv1d(1, 1, 1), StreamingLayer)
    assert not isinstance(torch.nn.ReLU(), StreamingLayer)


def test_errors():
    with pytest.raises(ValueError, match="must cover `stride`; got kernel_size=1, stride=2"):
        CausalConv1d(1, 1, 1, stride=2)
    conv = CausalConv1d(1, 1, 4, stride=2)
    with pytest.raises(ValueError, match="multiple of 2 frames; got 3"):
        conv(torch.zeros(1, 1, 3))
    with pytest.raises(ValueError, match="multiple of 2 frames; got 0"):
        conv(torch.zeros(1, 1, 0))
