"""Laws of the networks that only measure."""

from __future__ import annotations

import pytest
import torch

from cospeech.errors import CheckpointError
from cospeech.hub.convert.evaluators import (
    gesture_autoencoder_from_published,
    gesture_autoencoder_to_published,
    text_evaluator_from_published,
    text_evaluator_to_published,
)
from cospeech.models.distilbert import DistilBert, DistilBertConfig
from cospeech.models.gesture_embedding import GestureAutoencoder, GestureAutoencoderConfig
from cospeech.models.text_motion_evaluator import EvaluatorConfig, MotionEvaluator, TextEvaluator, TextEvaluatorConfig

TINY = EvaluatorConfig(input_dim=5, dim=8, num_layers=1, num_heads=2, feedforward_dim=16)
BERT = DistilBertConfig(vocabulary=20, max_tokens=6, dim=8, num_layers=1, num_heads=2, feedforward_dim=16)


@pytest.mark.parametrize("num_frames", [34, 40])
def test_gesture_autoencoder_goes_there_and_back(num_frames):
    model = GestureAutoencoder(GestureAutoencoderConfig(num_frames=num_frames, motion_dim=6)).eval()
    windows = torch.randn(3, num_frames, 6)
    assert model(windows).shape == windows.shape
    again = gesture_autoencoder_from_published(gesture_autoencoder_to_published(model))
    assert again.config == model.config
    torch.testing.assert_close(again.encode(windows), model.encode(windows))
    with pytest.raises(ValueError, match=f"must have shape \\(B, {num_frames}, 6\\)"):
        model.encode(windows[:, 1:])


def test_windows_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="`num_frames` must be 12 or more; got 11"):
        GestureAutoencoderConfig(num_frames=11)


def test_frames_beyond_the_length_are_not_looked_at():
    model = MotionEvaluator(TINY).eval()
    x = torch.randn(2, 9, 5)
    changed = x.clone()
    changed[1, 4:] = 100
    lengths = torch.tensor([9, 4])
    for found, wanted in zip(model(changed, lengths), model(x, lengths), strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(model(x[1:, :4]).mean, model(x, lengths).mean[1:])
    assert (model(x).std > 0).all()


def test_text_evaluator_goes_there_and_back():
    model = TextEvaluator(
        TextEvaluatorConfig(
            bert=BERT, encoder=EvaluatorConfig(input_dim=8, dim=8, num_layers=1, num_heads=2, feedforward_dim=16)
        )
    ).eval()
    tokens, mask = torch.randint(20, (2, 5)), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    state = text_evaluator_to_published(model)
    assert "text_model.transformer.layer.0.attention.k_lin.weight" in state
    prefixed = {f"textencoder.{key}": tensor for key, tensor in state.items()} | {"motionencoder.x": torch.zeros(1)}
    again = text_evaluator_from_published(prefixed, num_heads=2, num_bert_heads=2)
    assert again.config == model.config
    torch.testing.assert_close(again(tokens, mask).mean, model(tokens, mask).mean)
    del state["text_model.transformer.layer.0.attention.v_lin.bias"]
    with pytest.raises(CheckpointError, match=r"attention\.v_lin\.bias"):
        text_evaluator_from_published(state, num_heads=2, num_bert_heads=2)


def test_sentences_that_are_too_long_are_refused():
    with pytest.raises(ValueError, match="must be 6 at most; got 7"):
        DistilBert(BERT)(torch.zeros(1, 7, dtype=torch.int64))
