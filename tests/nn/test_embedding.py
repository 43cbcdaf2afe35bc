"""One-hot embeddings: the matrix product written out, and classes that do not exist."""

import pytest
import torch
import torch.nn.functional as F

from cospeech.nn import OneHotEmbedding


def test_equals_the_products():
    embed = OneHotEmbedding(5, hidden_dim=7, dim=3)
    first, second = embed.mlp.expand, embed.mlp.contract
    for index in range(5):
        expected = second(F.silu(first.weight[:, index] + first.bias))
        torch.testing.assert_close(embed(torch.tensor(index)), expected)


def test_leading_axes_and_dtype():
    embed = OneHotEmbedding(5, hidden_dim=7, dim=3).double()
    vectors = embed(torch.tensor([[0, 1], [4, 4]]))
    assert vectors.shape == (2, 2, 3)
    assert vectors.dtype == torch.float64


@pytest.mark.parametrize("index", [-1, 5])
def test_unknown_class_is_refused(index):
    with pytest.raises(ValueError, match=rf"`index` must lie in 0..4; got \[0, {index}\]"):
        OneHotEmbedding(5, hidden_dim=7, dim=3)(torch.tensor([0, index]))
