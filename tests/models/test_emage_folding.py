"""A folded transformer says what the one it was folded from says."""

from __future__ import annotations

import pytest
import torch

from cospeech.models import EmageConfig, EmageTransformer, fold_emage

SIZES = {"hidden_dim": 32, "feedforward_dim": 16, "audio_dim": 16, "num_audio_layers": 2, "num_face_layers": 2}


@pytest.fixture(scope="module", params=["one speaker", "two speakers", "words"])
def model(request: pytest.FixtureRequest) -> EmageTransformer:
    options = {"two speakers": {"num_speakers": 2}, "words": {"text_dim": 5}}.get(request.param, {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EmageTransformer(EmageConfig(**SIZES, **options, window_frames=20)).eval()
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "running" in name:
                tensor.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("num_frames", [20, 12])
@torch.no_grad()
def test_folded_equals_plain(model: EmageTransformer, num_frames: int) -> None:
    reads = model.config.text_dim is not None
    signal = torch.randn(2, 2, 533 * 24) if reads else torch.randn(2, 533 * num_frames)
    words = torch.randn(2, num_frames, 5) if reads else None
    speaker = torch.tensor([0, model.config.num_speakers - 1])
    given = (signal, torch.randn(2, num_frames, 337), torch.rand(2, num_frames, 337) < 0.5, speaker)
    expected = model(*given, words=words)
    actual = fold_emage(model)(*given, words=words)
    for ours, theirs in zip((*actual.latents, *actual.logits), (*expected.latents, *expected.logits), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_given_transformer_stays_as_it_is(model: EmageTransformer) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_emage(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert folded.body_in.weight is model.body_in.weight  # shared, where nothing was folded
