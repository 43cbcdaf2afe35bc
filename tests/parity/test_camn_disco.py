"""CaMN and DisCo against the published programs."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.hub.convert.camn import camn_from_published, camn_to_published, disco_from_published, disco_to_published
from cospeech.motion import Motion
from cospeech.pipelines import UpperBodyPipeline, load_pipeline
from cospeech.representations import (
    LOCAL_UPPER_JOINTS,
    emage_matrix_to_axis_angle,
    scatter_joints,
    upsample_linear,
)
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


@pytest.mark.slow
@pytest.mark.case("camn_forward", "disco_forward")
def test_pipeline_from_a_published_folder(case, tmp_path):
    """Samples in, ``Motion`` out, at full size: the published frames, shown twice as often by the published rule."""
    system = case.name.removesuffix("_forward")
    torch.save(published_state(case, f"{system}_audio"), tmp_path / "pytorch_model.bin")
    config = {"model_type": f"{system}_audio", **json.loads(case.settings["config"])}
    (tmp_path / "config.json").write_text(json.dumps(config))
    pipeline = load_pipeline(tmp_path)
    assert isinstance(pipeline, UpperBodyPipeline)
    audio, expected = case.inputs["audio_i16"][0].float() / 32768 * 20, case.outputs
    motion = pipeline(audio, source_rate_hz=16000, strict_upstream=True)
    wanted = upsample_linear(expected["axis_angle"][0].unflatten(-1, (-1, 3)).double(), 2).float()
    assert_within(motion.local_axis_angle, wanted, 1e-3)
    assert not motion.expressions.any()
    seed = rot6d_to_matrix(case.inputs["seed_motion"][0].unflatten(-1, (-1, 6)))
    beginning = Motion.from_local_rotations(
        torch.eye(3).repeat(len(seed), 55, 1, 1).index_copy(1, torch.tensor(LOCAL_UPPER_JOINTS), seed),
        translation=torch.zeros(len(seed), 3),
        rate_hz=15,
    )
    seeded = pipeline(audio, source_rate_hz=16000, strict_upstream=True, beginning=beginning)
    said = rot6d_to_matrix(expected["seeded_motion"][0].unflatten(-1, (-1, 6)))
    shown = seeded.local_rotations()[::2][:, list(LOCAL_UPPER_JOINTS)][0]  # both clocks begin with the first frame
    assert_within(shown, said[0], 1e-4)
    assert not torch.allclose(seeded.local_axis_angle, motion.local_axis_angle, atol=1e-3)
