import pytest
import torch

from cospeech.nn import TemporalDecoder, TemporalEncoder


@pytest.mark.parametrize("num_stages", [1, 2, 4])
@pytest.mark.parametrize("kind", [TemporalEncoder, TemporalDecoder])
def test_reach_is_exactly_what_a_frame_sees(kind, num_stages):
    module = kind(3, 5, num_stages).double()
    x = torch.randn(1, 41, 3, dtype=torch.float64, requires_grad=True)
    module(x)[0, 20].sum().backward()
    seen = x.grad[0].abs().sum(-1).nonzero().flatten()
    assert (seen.min(), seen.max()) == (20 - module.reach, 20 + module.reach)


@pytest.mark.parametrize("num_frames", [1, 2, 30])
def test_as_many_frames_as_given(num_frames):
    assert TemporalEncoder(6, 4, 2)(torch.randn(2, num_frames, 6)).shape == (2, num_frames, 4)
    assert TemporalDecoder(4, 6, 2)(torch.randn(2, num_frames, 4)).shape == (2, num_frames, 6)


def test_start_of_training():
    decoder = TemporalDecoder(64, 64, 2)
    weight = decoder.out.weight
    assert not any(bias.any() for name, bias in decoder.named_parameters() if name.endswith("bias"))
    assert weight.std().item() == pytest.approx((2 / (2 * 64 * 3)) ** 0.5, rel=0.05)  # Xavier, gain 1
