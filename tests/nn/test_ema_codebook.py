import pytest
import torch

from cospeech.nn import EmaCodebook, VectorQuantizer, kmeans_codes


def generator():
    return torch.Generator().manual_seed(0)


def blobs(centers, num_each=50, spread=0.01):
    noise = spread * torch.randn(len(centers), num_each, centers.shape[1], generator=generator())
    return (centers[:, None] + noise).flatten(0, 1)


CENTERS = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])


def test_kmeans_codes_are_middles_of_what_chooses_them():
    latents = torch.randn(400, 3, generator=generator())
    quantizer = VectorQuantizer(8, 3)
    with torch.no_grad():
        quantizer.codebook.copy_(kmeans_codes(latents, 8, generator=generator(), num_rounds=200))
    indices = quantizer.nearest(latents)
    for code in indices.unique():
        torch.testing.assert_close(quantizer.codebook[code].detach(), latents[indices == code].mean(0))


def test_fewer_vectors_than_codes():
    latents = torch.randn(3, 2)
    codes = kmeans_codes(latents, 8)
    assert (torch.cdist(codes, latents).amin(1) < 1e-5).all()


def test_update_is_the_running_mean():
    quantizer = VectorQuantizer(2, 1)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    codebook = EmaCodebook(quantizer, decay=0.9, revive_below=0.0)
    latents = torch.tensor([[1.0], [3.0], [9.0]])
    codebook.update(latents, quantizer.nearest(latents))
    # Counts begin at 1 with the code itself.
    torch.testing.assert_close(codebook.counts, torch.tensor([0.9 + 0.1 * 2, 1.0]))
    expected = torch.tensor([[0.1 * 4 / 1.1], [9.9]])
    torch.testing.assert_close(quantizer.codebook.data, expected)


def test_dead_codes_come_to_life():
    quantizer = VectorQuantizer(4, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [900.0, 0.0], [901.0, 0.0], [902.0, 0.0]]))
    codebook, latents = EmaCodebook(quantizer, decay=0.5), blobs(CENTERS)
    source = generator()
    for _ in range(40):
        codebook.update(latents, quantizer.nearest(latents), generator=source)
    assert len(quantizer.nearest(latents).unique()) == 4


def test_not_trained_by_gradients_but_saved():
    quantizer = VectorQuantizer(4, 2)
    codebook = EmaCodebook(quantizer)
    assert not list(codebook.parameters())
    assert not quantizer.codebook.requires_grad
    assert codebook.state_dict().keys() == {"counts", "sums"}


def test_same_seed_same_codes_and_untouched_global_state():
    latents, state = torch.randn(50, 2), torch.random.get_rng_state()
    first, second = (kmeans_codes(latents, 5, generator=generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_errors():
    with pytest.raises(ValueError, match="`decay` must be at least 0 and below 1; got 1"):
        EmaCodebook(VectorQuantizer(2, 2), decay=1.0)
    with pytest.raises(ValueError, match="`latents` must hold at least one vector"):
        kmeans_codes(torch.zeros(0, 3), 4)
