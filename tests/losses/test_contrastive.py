"""InfoNCE against its definition, the filter, and the divergence against torch's."""

import torch

from cospeech.losses import info_nce, normal_kl


def test_info_nce_is_its_definition():
    text, motion = torch.randn(5, 7), torch.randn(5, 7)
    cosines = torch.nn.functional.cosine_similarity(motion[:, None], text[None], dim=-1) / 0.2
    expected = -(cosines.log_softmax(0).diagonal().mean() + cosines.log_softmax(1).diagonal().mean()) / 2
    torch.testing.assert_close(info_nce(text, motion, temperature=0.2), expected)


def test_pairs_that_mean_the_same_are_no_negatives():
    text, motion, similarity = torch.randn(3, 7), torch.randn(3, 7), torch.eye(3)
    similarity[0, 1] = similarity[1, 0] = 0.9
    assert info_nce(text, motion, similarity=similarity) < info_nce(text, motion)
    similarity[0, 1] = similarity[1, 0] = 1.0  # the published quirk
    torch.testing.assert_close(info_nce(text, motion, similarity=similarity), info_nce(text, motion))


def test_divergence_is_torchs():
    means, stds = torch.randn(2, 4, 6), torch.rand(2, 4, 6) + 0.1
    one, other = (torch.distributions.Normal(mean, std) for mean, std in zip(means, stds, strict=True))
    expected = torch.distributions.kl_divergence(one, other).mean()
    torch.testing.assert_close(normal_kl(means[0], stds[0], means[1], stds[1]), expected)
