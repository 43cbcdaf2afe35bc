import pytest
import torch

from cospeech.nn import ContentRhythmAttention

FORMS = [{"hidden_dim": 12, "per_channel": False}, {"per_channel": True}, {"hidden_dim": 5, "per_channel": True}]


@pytest.mark.parametrize("form", FORMS)
def test_convex_mix(form):
    attention = ContentRhythmAttention(6, **form)
    content, rhythm = torch.randn(2, 9, 6), torch.randn(2, 9, 6)
    mixed = attention(content, rhythm)
    low, high = torch.minimum(content, rhythm), torch.maximum(content, rhythm)
    assert ((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all()
    weights = attention.weights(content, rhythm)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert weights.shape == (2, 9, 6 if form["per_channel"] else 1, 2)


def test_which_weight_is_whose():
    attention = ContentRhythmAttention(1)
    with torch.no_grad():
        attention.weigh[0].weight.zero_()
        attention.weigh[0].bias.copy_(torch.tensor([0.0, 40.0]))
    assert attention(torch.tensor([[[3.0]]]), torch.tensor([[[-7.0]]])).item() == pytest.approx(3.0)


def test_equal_features_stay():
    x = torch.randn(1, 4, 6)
    torch.testing.assert_close(ContentRhythmAttention(6)(x, x), x)


def test_errors():
    with pytest.raises(ValueError, match=r"must be alike; got \(1, 4, 6\) and \(1, 5, 6\)"):
        ContentRhythmAttention(6)(torch.zeros(1, 4, 6), torch.zeros(1, 5, 6))
