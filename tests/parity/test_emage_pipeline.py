"""EMAGE's pipeline from a published folder of full size, against the published program's frames."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.pipelines import EmagePipeline

PARTS = {"emage_vq/global": "emage_vae_global"} | {
    f"emage_vq/{part}": f"emage_vq_{part}" for part in ("face", "upper", "hands", "lower")
}


def kept_tensors(layout):
    """What the published constructor makes: counters and two periods of positions."""
    keep = {}
    for key, shape, _, status in layout["keys"]:
        if status == "keep" and key.endswith("num_batches_tracked"):
            keep[key] = torch.zeros(shape, dtype=torch.int64)
        elif status == "keep":
            dim, period = shape[-1], layout["config"]["pose_length"]
            angles = torch.arange(period)[:, None] * 10000 ** (-torch.arange(0, dim, 2) / dim)
            keep[key] = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).repeat(shape[1] // period, 1)[None]
    return keep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("emage_audio")


@pytest.mark.slow
@pytest.mark.case("emage_inference")
def test_strict_upstream(case, folder):
    layout = case.layout("emage_audio_model")
    state = case.published_state("emage_audio_model", keep=kept_tensors(layout))
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "emage_audio", **layout["config"]}))
    for part, name in PARTS.items():
        (folder / part).mkdir(parents=True)
        torch.save(case.published_state(name), folder / part / "pytorch_model.bin")
    pipeline = EmagePipeline.from_pretrained(folder)
    audio = case.inputs["audio_i16"][0].float() / 32768 * 20
    motion = pipeline(audio, source_rate_hz=16000, strict_upstream=True)
    expected = case.outputs
    assert motion.num_frames == expected["index_upper"].shape[1]
    torch.testing.assert_close(motion.expressions, expected["expression"][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(motion.translation, expected["trans"][0], rtol=0, atol=1e-5)
    actual, wanted = motion.local_axis_angle.flatten(1), expected["motion_axis_angle"][0]
    torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-3)
    assert ((actual - wanted).abs() <= 1e-4).float().mean() >= 0.999
    if not case.salt:  # of these weights, no promise for others: where windows meet, joints are no faster than inside
        steps = motion.joints().diff(dim=0).norm(dim=-1).mean(-1)
        seams = torch.zeros(len(steps), dtype=torch.bool)
        seams[59::60] = True
        assert (steps[seams] <= steps[~seams].quantile(0.99)).all()
