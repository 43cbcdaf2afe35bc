"""Distances, diversities, errors and recalls against the published programs."""

from __future__ import annotations

import json

import pytest
import torch

from cospeech.metrics import (
    FRECHET_RULES,
    FrechetAccumulator,
    MeanAccumulator,
    acceleration_error,
    correct_share,
    difference_lengths,
    drawn_diversity,
    frechet_distance,
    globaldiff_frechet_distance,
    l1_deviation,
    matching_distances,
    mean_pairwise_difference,
    multimodality,
    position_lvd,
    procrustes_errors,
    r_precision,
    retrieval_ranks,
    root_aligned_errors,
    semantic_recall,
    speed_lvd,
    velocity_lvd,
    vertex_mse,
)
from cospeech.representations import emage_foot_contact


def assert_relative(actual, expected, tolerance, floor=0.0):
    actual, expected = torch.as_tensor(actual).double(), torch.as_tensor(expected).double()
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=floor)


def points(x):
    return x.unflatten(-1, (-1, 3))


def mean_over_clips(values, weights):
    mean = MeanAccumulator()
    for value, weight in zip(values, weights, strict=True):
        mean.update(value, weight)
    return mean.compute()


@pytest.mark.case("metrics_frechet_full", "metrics_frechet_deficient")
def test_frechet(case):
    a, b, expected = case.inputs["a"], case.inputs["b"], case.outputs
    rules = {"exact": "exact", "exact_eps": "evaltools"}
    for name in ("exact", "exact_eps", "evaltools", "legacy", "globaldiff", "motionstreamer"):
        rule = FRECHET_RULES[rules.get(name, name)]
        tolerance = 1e-7 if name in ("legacy", "globaldiff") else 1e-6
        assert_relative(frechet_distance(a, b, rule=rule), expected[name], tolerance)
        accumulated = FrechetAccumulator(rule)
        for part in a.split(13):
            accumulated.update(part, b[:0])
        for part in b.split(17):
            accumulated.update(a[:0], part)
        assert_relative(accumulated.compute(), expected[name], 1e-6)
    scale = (expected["trace_cov_a"] + expected["trace_cov_b"]).item()
    same = frechet_distance(a, a, rule=FRECHET_RULES["evaltools"])
    assert_relative(same, expected["evaltools_same"], 0, floor=1e-9 * scale)  # what is left of two traces
    for name, moments in (("a", accumulated.generated), ("b", accumulated.reference)):
        assert_relative(moments.compute().covariance.trace(), expected[f"trace_cov_{name}"], 1e-6)
    gap = accumulated.generated.compute().mean - accumulated.reference.compute().mean
    assert_relative(gap.square().sum(), expected["mean_gap_sq"], 1e-6)


@pytest.mark.case("metrics_frechet_full")
def test_frechet_by_the_published_root(case):
    assert_relative(
        globaldiff_frechet_distance(case.inputs["a"], case.inputs["b"]), case.outputs["globaldiff"].item(), 1e-6
    )


@pytest.mark.case("metrics_l1div")
def test_l1_diversity(case):
    clips, expected = [points(case.inputs[name]) for name in ("a", "b")], case.outputs
    values = [l1_deviation(clip) for clip in clips]
    assert_relative(values[0], expected["after_a"], 1e-5)
    both = mean_over_clips(values, map(len, clips))
    assert_relative(both, expected["after_both"], 1e-5)
    assert_relative(both, expected["legacy"], 1e-5)
    assert_relative(both, expected["exact_after_both"], 1e-7)
    pairwise = mean_pairwise_difference(clips[0]) * clips[0][0].numel() / 2
    assert_relative(pairwise, expected["pairwise_a"], 1e-5)


@pytest.mark.case("metrics_face")
def test_face(case):
    given, expected = case.inputs, case.outputs
    numbers = sorted(name.removeprefix("pred") for name in given if name.startswith("pred"))
    pairs = [(points(given[f"pred{i}"]), points(given[f"target{i}"])) for i in numbers]
    measures = {
        "mse_evaltools": vertex_mse,
        "mse_legacy": vertex_mse,
        "lvd_evaltools": lambda *pair: velocity_lvd(*pair, divide_by_frames=True),
        "lvd_legacy": position_lvd,
        "lvd_mean_over_differences": velocity_lvd,
    }
    for name, measure in measures.items():
        value = mean_over_clips([measure(*pair) for pair in pairs], [len(pair[0]) for pair in pairs])
        assert_relative(value, expected[name], 1e-5)


@pytest.mark.case("metrics_srgr")
def test_semantic_recall(case):
    given, expected = case.inputs, case.outputs
    pred, target, semantic = given["pred"], given["target"], given["semantic"]
    assert_relative(semantic_recall(pred, target, semantic), expected["evaltools"], 1e-9)
    head = 40
    values = [
        semantic_recall(pred, target, semantic),
        semantic_recall(pred[:head], target[:head], semantic[:head]),
    ]
    both = mean_over_clips(values, [len(pred), head])
    assert_relative(both, expected["evaltools_two_clips"], 1e-9)
    assert_relative(semantic_recall(pred, target), expected["evaltools_no_semantic"], 1e-9)
    assert_relative(semantic_recall(pred, target, semantic, order=1), expected["legacy"], 1e-9)
    degrees = semantic_recall(pred * 40, target * 40, semantic, order=1, threshold=4)
    assert_relative(degrees, expected["legacy_threshold4_x40"], 1e-9)


@pytest.mark.case("metrics_diffsheg")
def test_diffsheg(case):
    pred, target, expected = case.inputs["pred"], case.inputs["target"], case.outputs
    assert_relative(correct_share(points(pred), points(target), threshold=0.5), expected["pck"], 1e-6)
    assert_relative(correct_share(pred[..., None], target[..., None], threshold=0.5), expected["pck_show"], 1e-6)
    assert_relative((pred.double() - target.double()).square().mean(), expected["mse"], 1e-6)
    group = int(case.settings["group"])
    assert_relative(mean_pairwise_difference(pred[:group]), expected["diversity"], 1e-6)


@pytest.mark.case("metrics_talkshow")
def test_talkshow(case):
    pred, target, expected = case.inputs["pred"], case.inputs["target"], case.outputs
    errors = speed_lvd(pred, target)
    assert_relative(errors[0], expected["lvd_first"], 1e-5)
    assert_relative(errors.mean(), expected["lvd_batch"], 1e-5)
    assert_relative(mean_pairwise_difference(pred), expected["diversity"], 1e-5)


@pytest.mark.case("metrics_mpjpe")
def test_joint_errors(case):
    pred, target, expected = case.inputs["pred"], case.inputs["target"], case.outputs
    assert_relative(root_aligned_errors(pred, target).mean(-1), expected["mpjpe_root_aligned"], 1e-5)
    masked = root_aligned_errors(pred, target, missing=-2.0).nanmean(-1)
    assert_relative(masked, expected["mpjpe_masked"], 1e-5)
    assert_relative(procrustes_errors(pred, target).mean(-1), expected["pa_mpjpe"], 1e-5)
    assert_relative(acceleration_error(pred, target).mean(-1), expected["accel_error"], 1e-5, floor=1e-7)
    rate_hz = float(case.settings.get("fps", 30))
    for order, name, tolerance in ((2, "accel_pred", 1e-5), (3, "jerk_pred", 1e-6)):
        lengths = difference_lengths(pred.double(), rate_hz, order=order).mean(-1)
        assert_relative(lengths, expected[name], tolerance)


@pytest.mark.case("metrics_foot_contact")
def test_foot_contact(case):
    feet, expected = case.inputs["joints"], case.outputs
    contact = emage_foot_contact(feet, max_step_metres=float(case.settings["threshold"]))
    assert torch.equal(contact.double(), expected["contact"])
    steps = difference_lengths(feet, 1.0, order=1)
    assert_relative(steps, expected["step_length"][:-1], 0, floor=1e-6)
    assert not expected["step_length"][-1].any()


@pytest.mark.case("metrics_t2m")
def test_text_to_motion(case):
    given, expected = case.inputs, case.outputs
    used, group = int(json.loads(case.settings["used"])), int(case.settings["batch"])

    def distances(motion, **options):
        text, motion = (x[:used].unflatten(0, (-1, group)) for x in (given["text"], motion))
        return matching_distances(text, motion, **options)

    def matching(distance):
        return distance.diagonal(dim1=-2, dim2=-1).double().mean()

    for name in ("gt", "pred"):
        distance = distances(given[f"motion_{name}"])
        wanted = expected[f"r_precision_{name}"]
        assert torch.equal(r_precision(retrieval_ranks(distance), len(wanted)), wanted)
        assert_relative(matching(distance), expected[f"mm_dist_{name}"], 1e-5)
    first = distances(given["motion_gt"])[0]
    assert_relative(first, expected["distance_first_batch"], 1e-5)
    normalized = distances(given["motion_pred"], normalize=True)
    wanted = expected["tmr_r_precision_pred"]
    assert_relative(r_precision(retrieval_ranks(normalized), len(wanted)), wanted, 1e-6)  # stored from float32
    assert_relative(matching(normalized), expected["tmr_mm_dist_pred"], 1e-5)
    drawn = drawn_diversity(given["motion_pred"][:used], given["diversity_first"], given["diversity_second"])
    assert_relative(drawn, expected["diversity"], 1e-5)
    repeats = multimodality(given["multimodal"], given["multimodal_first"], given["multimodal_second"])
    assert_relative(repeats, expected["multimodality"], 1e-5)
    fid = frechet_distance(given["motion_gt"][:used], given["motion_pred"][:used])
    assert_relative(fid, expected["fid"], 1e-5)
