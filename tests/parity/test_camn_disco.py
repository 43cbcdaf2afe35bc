"""CaMN and DisCo against the published programs."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.hub.convert.camn import camn_from_published, camn_to_published, disco_from_published, disco_to_published
from cospeech.representations import emage_matrix_to_axis_angle, scatter_joints
from cospeech.rotations import rot6d_to_matrix


def assert_within(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def published_state(case, layout):
    keys = case.layout(layout)["keys"]
    keep = {key: torch.zeros(shape, dtype=torch.int64) for key, shape, _, status in keys if status == "keep"}
    return case.published_state(layout, keep=keep)


def assert_same_state(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert torch.equal(ours[key], tensor), key


@pytest.mark.case("camn_forward", "disco_forward")
@torch.inference_mode()
def test_whole_clip(case):
    is_camn, given, expected = case.name.startswith("camn"), case.inputs, case.outputs
    state = published_state(case, "camn_audio" if is_camn else "disco_audio")
    from_published, to_published = (
        (camn_from_published, camn_to_published) if is_camn else (disco_from_published, disco_to_published)
    )
    config = json.loads(case.settings["config"])
    model = from_published(state, seed_frames=config["seed_frames"])
    assert_same_state(to_published(model), state)
    assert (model.config.hidden_dim, model.config.num_layers) == (config["hidden_size"], config["n_layer"])

    audio = given["audio_i16"].float() / 32768 * 20
    speaker = torch.zeros(len(audio), dtype=torch.long)
    output, seeded = model(audio, speaker), model(audio, speaker, given["seed_motion"])
    if not is_camn:
        assert_within(output.content, expected["audio_content"], 1e-5)
        assert_within(output.rhythm, expected["audio_rhythm"], 1e-5)
        output, seeded = output.motion, seeded.motion
    assert output.shape[1] == int(case.settings["frames"])
    assert_within(output, expected["motion"], 1e-5)
    assert_within(seeded, expected["seeded_motion"], 1e-5)
    rotations = rot6d_to_matrix(output.reshape(*output.shape[:2], -1, 6))
    axis_angle = scatter_joints(emage_matrix_to_axis_angle(rotations))
    assert_within(axis_angle.flatten(-2), expected["axis_angle"], 1e-3)
