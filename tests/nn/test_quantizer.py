import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospeech.nn import VectorQuantizer


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**31))
def test_nearest_is_the_slow_search(num_codes, num_vectors, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    quantizer = VectorQuantizer(num_codes, dim).double()
    latents = torch.randn(num_vectors, dim, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        quantizer.codebook.normal_(generator=generator)
    slow = ((latents[:, None] - quantizer.codebook) ** 2).sum(-1).argmin(1)
    assert torch.equal(quantizer.nearest(latents), slow)


def test_any_leading_axes():
    quantizer = VectorQuantizer(5, 3)
    latents = torch.randn(2, 4, 7, 3)
    assert quantizer.nearest(latents).shape == (2, 4, 7)
    assert quantizer(latents[0, 0, 0]).codes.shape == (3,)


def test_first_of_equal_codes():
    quantizer = VectorQuantizer(4, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0], [0.0, 9.0]]))
    assert quantizer.nearest(torch.tensor([0.9, 0.1])) == 1


def test_a_code_is_its_own_nearest():
    quantizer = VectorQuantizer(50, 8)
    assert torch.equal(quantizer.nearest(quantizer.lookup(torch.arange(50))), torch.arange(50))


def test_straight_through():
    quantizer, latents = VectorQuantizer(6, 4), torch.randn(2, 5, 4, requires_grad=True)
    quantized = quantizer(latents)
    torch.testing.assert_close(quantized.latents, quantized.codes, rtol=0, atol=1e-6)
    (quantized.latents * 3).sum().backward()
    assert torch.equal(latents.grad, torch.full_like(latents, 3.0))
    assert quantizer.codebook.grad is None


def test_width_error():
    with pytest.raises(ValueError, match=r"`latents` must have shape \(\.\.\., 3\); got \(2, 4\)"):
        VectorQuantizer(5, 3).nearest(torch.zeros(2, 4))
