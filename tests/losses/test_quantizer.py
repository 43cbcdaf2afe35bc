import pytest
import torch

from cospeech.losses import code_perplexity, quantizer_loss


def test_each_term_pulls_its_own_side():
    latents = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    codes = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    quantizer_loss(latents, codes, commitment=0.25).backward()
    pull = 2 * (codes - latents).detach() / 12
    torch.testing.assert_close(codes.grad, pull)
    torch.testing.assert_close(latents.grad, -0.25 * pull)


def test_value():
    assert quantizer_loss(torch.zeros(2, 2), torch.full((2, 2), 3.0), commitment=0.5) == 9 * 1.5


@pytest.mark.parametrize("num_used", [1, 3, 8])
def test_perplexity_counts_codes_in_even_use(num_used):
    indices = torch.arange(num_used).repeat(5, 2)
    assert code_perplexity(indices, 8).item() == pytest.approx(num_used, rel=1e-5)
