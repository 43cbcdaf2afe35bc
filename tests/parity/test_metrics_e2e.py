"""Whole protocols on real frames: FGD, BC, L1 diversity, pose-space distances in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cospeech.audio import load_audio
from cospeech.evaluation import (
    FeatureRule,
    Protocol,
    clip_features,
    gesture_positions,
    get_protocol,
    measure_clip,
    summarize,
)
from cospeech.evaluation.protocols import BEAT2_MEAN_SPEEDS
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published, skeleton_autoencoder_to_published
from cospeech.metrics import FRECHET_RULES, frechet_distance
from cospeech.models import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.motion import Motion

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.mark.case("metrics_e2e_beat2")
@torch.inference_mode()
def test_protocols_end_to_end(case):
    given, expected = case.inputs, case.outputs
    _, span, _, source = case.settings["target"].split(" ")
    if not (DATA / source).exists():
        pytest.skip(f"{DATA / source} is not here")
    first, last = map(int, span.split(":"))
    reference = Motion.load(DATA / source)[first:last]
    poses = given["pred_poses"].unflatten(1, (-1, 3))
    generated = Motion(local_axis_angle=poses, translation=torch.zeros(len(poses), 3), rate_hz=reference.rate_hz)
    waveform = load_audio(DATA / case.settings["wav"], 16_000)
    made = skeleton_autoencoder_to_published(SkeletonAutoencoder(SkeletonAutoencoderConfig()))
    extractor = skeleton_autoencoder_from_published(case.published_state("metrics_sk_encoder", keep=made))
    assert torch.equal(torch.tensor(BEAT2_MEAN_SPEEDS), given["mean_speed"])

    def numbers(protocol: Protocol) -> dict[str, float]:
        clip = measure_clip(
            "clip",
            generated,
            reference,
            protocol,
            waveform=waveform,
            extractor=extractor,
            rest_joints=given["rest_joints"],
        )
        return {metric.name: metric.value for metric in summarize([clip], protocol, num_resamples=0)}

    def near(value, name, **tolerance):
        assert value == pytest.approx(expected[name].item(), **tolerance), name

    for name in ("evaltools", "legacy"):
        found = numbers(get_protocol(name))
        near(found["fgd"], f"fgd_{name}", rel=1e-4)
        near(found["bc"], f"bc_{name}", abs=1e-6)
        near(found["l1div"], f"l1div_{name}", rel=1e-5)
    exact = replace(get_protocol("legacy"), frechet=FRECHET_RULES["exact"], name="exact")
    near(numbers(exact)["fgd"], "fgd_exact", rel=1e-4)
    near(numbers(get_protocol("globaldiff"))["fgd"], "fgd_globaldiff", rel=1e-4)
    rule = get_protocol("globaldiff").features
    windows = (len(poses) - rule.window_frames) // rule.stride_frames + 1
    assert windows == expected["windows_globaldiff"]
    assert len(clip_features(poses, rule, extractor)) == windows * rule.window_frames // extractor.config.stride
    misread = replace(get_protocol("evaltools"), features=FeatureRule(window_frames=32, stride_frames=32))
    near(numbers(misread)["fgd"], "fgd_windows32", rel=1e-4)

    found = numbers(get_protocol("cospeech"))
    near(found["fgd_static"], "fgd_static", rel=1e-6)
    near(found["fgd_kinematic"], "fgd_kinematic", rel=1e-6)
    near(found["variance"], "variance", rel=1e-5)

    latents = [clip_features(motion.local_axis_angle, FeatureRule(), extractor) for motion in (generated, reference)]
    for latent, name in zip(latents, ("pred", "target"), strict=True):
        torch.testing.assert_close(latent, expected[f"latent_{name}"], rtol=0, atol=2e-5)
    assert frechet_distance(*latents).item() == pytest.approx(expected["fgd_exact"].item(), rel=1e-4)
    for protocol, name in (("evaltools", "positions_pred_head"), ("legacy", "positions_legacy_head")):
        positions = gesture_positions(poses, get_protocol(protocol), rest_joints=given["rest_joints"])
        head = expected[name]
        torch.testing.assert_close(positions[: len(head)], head, rtol=0, atol=1e-5)
