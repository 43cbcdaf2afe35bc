"""Beat consistency of three published programs, step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cospeech.audio import load_audio, onset_strength, resample
from cospeech.metrics import (
    BeatRule,
    audio_beats,
    beat2022_alignment,
    beat2022_beats,
    beat2022_onsets,
    beat_alignment,
    joint_speeds,
    l1_deviation,
    rectified,
    speed_minima,
)
from cospeech.metrics.beat_alignment import _backtrack, _published_peaks

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
RATE_HZ = 30.0
AUDIO_HZ = 16_000
LEGACY_MEAN_SPEED_CASE = "metrics_bc_evaltools"


def audio_of(case, name=None):
    path = DATA / (name or case.settings["wav"])
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return load_audio(path, AUDIO_HZ)


def rule_of(case, **changes):
    known = {
        "threshold": float(case.settings["threshold"]),
        "order": int(case.settings["order"]),
        "sigma_seconds": float(case.settings["sigma"]),
        "joints": tuple(int(word) for word in case.settings["upper"].strip("[]").split(",")),
    }
    return BeatRule(**known | changes)


def frames(beats):
    return torch.cat([(times * RATE_HZ).round().long() for times in beats]), torch.tensor([len(x) for x in beats])


def score_of(positions, onsets, speeds, rule):
    return beat_alignment(positions, onsets, rate_hz=RATE_HZ, usual_speeds=speeds, rule=rule)


@pytest.mark.case("metrics_bc_evaltools")
def test_evaltools(case):
    given, expected = case.inputs, case.outputs
    positions, usual = given["positions"].unflatten(1, (-1, 3)), given["mean_speed"]
    waveform, rule = audio_of(case), rule_of(case)
    margin = rule.margin_frames(RATE_HZ)

    speeds = joint_speeds(positions, RATE_HZ) / usual
    torch.testing.assert_close(speeds[:, list(rule.joints)], expected["speed_upper"], rtol=1e-6, atol=1e-6)
    minima = speed_minima(speeds[margin : len(speeds) - margin], rule.order)
    assert torch.equal(torch.cat([column.nonzero().flatten() for column in minima.T]), expected["minima"])
    assert torch.equal(minima.sum(0), expected["minima_count"])
    every = score_of(positions, expected["onsets"], usual, replace(rule, joints=tuple(range(positions.shape[1]))))
    indices, counts = frames(every.beats)
    assert torch.equal(indices, expected["beats"])
    assert torch.equal(counts, expected["beats_count"])

    heard = waveform[int(case.settings["t_start"]) : int(case.settings["t_end"])]
    strength = onset_strength(heard, rate_hz=AUDIO_HZ)
    torch.testing.assert_close(strength, expected["onset_envelope"], rtol=0, atol=1e-4)
    onsets = audio_beats(waveform, num_frames=len(positions), rate_hz=RATE_HZ, rule=rule)
    assert torch.equal(onsets, expected["onsets"])

    found = score_of(positions, onsets, usual, rule)
    torch.testing.assert_close(found.joint_scores, expected["score_per_joint"], rtol=0, atol=1e-9)
    variants = {
        "score": rule,
        "score_gesture_to_audio": replace(rule, direction="beats"),
        "score_mask_on_same_frame": replace(rule, threshold_frame="same"),
    }
    for name, variant in variants.items():
        score = score_of(positions, onsets, usual, variant).score
        assert score.item() == pytest.approx(expected[name].item(), abs=1e-9), name


@pytest.mark.case("metrics_bc_evaltools")
def test_onsets_of_a_stereo_file(case):
    path = DATA / "2_scott_0_103_103_28s.wav"
    pytest.importorskip("soundfile")
    waveform = audio_of(case, path.name)
    expected = case.outputs
    assert len(waveform) == expected["audio_28s_len"]
    head = expected["audio_28s_head"]
    torch.testing.assert_close(waveform[AUDIO_HZ:][: len(head)], head, rtol=0, atol=1e-5)
    rule = BeatRule(margin_seconds=0.0)
    num_frames = int(len(waveform) * RATE_HZ / AUDIO_HZ) + 1
    onsets = audio_beats(waveform, num_frames=num_frames, rate_hz=RATE_HZ, rule=rule)
    assert torch.equal(onsets, expected["onsets_28s"])


@pytest.mark.case("metrics_bc_legacy")
def test_legacy(case):
    given, expected = case.inputs, case.outputs
    positions = given["positions"].unflatten(1, (-1, 3))
    usual = given.get("mean_speed")
    if usual is None:  # the case takes them from the other protocol's
        usual = type(case)(LEGACY_MEAN_SPEED_CASE).inputs["mean_speed"]
    waveform, rule = audio_of(case), rule_of(case, rectify=True, audio="file")

    again = resample(resample(waveform, AUDIO_HZ, 22_050), 22_050, AUDIO_HZ)
    assert len(again) == expected["audio_len"]
    head = expected["audio_head"]
    offset = int(case.settings["offset"])
    torch.testing.assert_close(again[offset:][: len(head)], head, rtol=0, atol=1e-5)
    onsets = audio_beats(waveform, num_frames=len(positions), rate_hz=RATE_HZ, rule=rule)
    assert torch.equal(onsets, expected["onsets"])

    head = expected["rectified_head"]
    torch.testing.assert_close(rectified(positions)[: len(head)].flatten(1), head, rtol=0, atol=1e-6)
    every = score_of(positions, onsets, usual, replace(rule, joints=tuple(range(positions.shape[1]))))
    indices, counts = frames(every.beats)
    assert torch.equal(indices, expected["beats"])
    assert torch.equal(counts, expected["beats_count"])
    found = score_of(positions, onsets, usual, rule)
    torch.testing.assert_close(found.joint_scores, expected["score_per_joint"], rtol=0, atol=1e-9)
    assert found.score.item() == pytest.approx(expected["score"].item(), abs=1e-9)
    plain = score_of(positions, onsets, usual, replace(rule, rectify=False)).score
    assert plain.item() == pytest.approx(expected["score_without_rectification"].item(), abs=1e-9)
    deviation = l1_deviation(positions)
    assert deviation.item() == pytest.approx(expected["l1div"].item(), rel=1e-5)
    assert (deviation * len(positions)).item() == pytest.approx(expected["l1_sum"].item(), rel=1e-5)


@pytest.mark.case("metrics_bc_beat2022")
def test_beat2022(case):
    arms, expected = case.inputs["arms"], case.outputs
    span = {"start_seconds": float(case.settings["t_start"]), "end_seconds": float(case.settings["t_end"])}
    rate_hz = float(case.settings["fps"])
    waveform = audio_of(case)
    heard = slice(*(round(AUDIO_HZ * seconds) for seconds in span.values()))
    peaks, strength = _published_peaks(waveform[heard])
    assert torch.equal(peaks, expected["onset_raw"])
    assert torch.equal(_backtrack(peaks, strength), expected["onset_backtracked"])
    onsets = beat2022_onsets(waveform, **span)
    assert torch.equal(onsets, expected["onset_rms"])
    order, sigma_seconds = int(case.settings["order"]), float(case.settings["sigma"])
    beats = beat2022_beats(arms, rate_hz=rate_hz, order=order, **span)
    for found, name in zip(beats, ("beats_right_arm", "beats_right_wrist", "beats_left_wrist"), strict=True):
        assert torch.equal(found, expected[name])
    torch.testing.assert_close(onsets.double() * 512 / 22_050, expected["onset_seconds_used"], rtol=0, atol=1e-9)
    score = beat2022_alignment(arms, onsets, rate_hz=rate_hz, order=order, sigma_seconds=sigma_seconds, **span)
    assert score.item() == pytest.approx(expected["score"].item(), abs=1e-9)
