"""The networks that only measure: gesture autoencoder, motion and text evaluators, against the published ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cospeech.hub.convert.evaluators import (
    gesture_autoencoder_from_published,
    gesture_autoencoder_to_published,
    motion_evaluator_from_published,
    motion_evaluator_to_published,
    text_evaluator_from_published,
    text_evaluator_to_published,
)
from cospeech.nn import sinusoidal_positions


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def published(case):
    """The filled state; what constructors make is made here."""
    keep = {}
    for key, shape, _, status in case.layout()["keys"]:
        if status == "keep" and key.endswith("pe"):
            keep[key] = sinusoidal_positions(shape[0], shape[2])[:, None]
        elif status == "keep":
            keep[key] = torch.zeros(shape, dtype=torch.int64)
    return case.published_state(keep=keep)


def assert_same_state(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.case("metrics_half_embedding")
@torch.inference_mode()
def test_gesture_autoencoder(case):
    state = published(case)
    model = gesture_autoencoder_from_published(state)
    config = case.layout()["config"]
    assert (model.config.num_frames, model.config.motion_dim) == (config["n_poses"], config["net_dim_pose"])
    assert_within(model.convolve(case.inputs["poses"]), case.outputs["conv"], 2e-5)
    assert_within(model.encode(case.inputs["poses"]), case.outputs["feature"], 2e-5)
    assert_same_state(gesture_autoencoder_to_published(model), state)


@pytest.mark.case("diffsheg_fgd_beat", "diffsheg_fgd_show")
@torch.inference_mode()
def test_gesture_autoencoder_of_diffsheg(case):
    expected, state = case.outputs, published(case)
    model = gesture_autoencoder_from_published(state)
    assert any(key.startswith("decoder.") for key in state)
    assert_same_state(gesture_autoencoder_to_published(model), state)
    embedding = model.embed(case.inputs["poses"].float())
    assert_within(embedding.mean, expected["mu"], 2e-5)
    assert_within(embedding.mean, expected["latent"], 2e-5)
    assert_within(embedding.log_variance, expected["logvar"], 2e-5)
    rows = expected["reconstruction"]
    assert_within(model.decode(embedding.mean)[: len(rows)], rows, 2e-5)


@pytest.mark.case("metrics_t2m_motion_encoder")
@torch.inference_mode()
def test_motion_evaluator(case):
    given, expected = case.inputs, case.outputs
    state = published(case)
    model = motion_evaluator_from_published(state, num_heads=case.layout()["config"]["num_heads"])
    for pad_to in (given["motion"].shape[1], int(case.settings["pad_to"])):  # padding changes nothing
        padded = F.pad(given["motion"], (0, 0, 0, pad_to - given["motion"].shape[1]))
        found = model(padded, given["length"])
        assert_within(found.mean, expected["mean"], 2e-5)
        assert_within(found.std, expected["std"], 2e-5)
    assert_same_state(motion_evaluator_to_published(model), state)


@pytest.mark.case("metrics_t2m_text_encoder")
@torch.inference_mode()
def test_text_evaluator(case):
    given, expected = case.inputs, case.outputs
    state = published(case)
    model = text_evaluator_from_published(state, num_heads=case.layout()["config"]["num_heads"])
    mask = given["attention_mask"].bool()
    hidden = model.bert(given["input_ids"], mask)
    wanted = expected["hidden_first8"]
    assert_within(hidden[..., : wanted.shape[-1]][mask], wanted[mask], 1e-4)
    found = model(given["input_ids"], mask)
    assert_within(found.mean, expected["mean"], 1e-4)
    assert_within(found.std, expected["std"], 1e-4)
    assert_same_state(text_evaluator_to_published(model), state)
