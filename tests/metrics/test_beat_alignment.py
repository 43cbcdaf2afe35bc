"""Published beat consistency against a slow twin, and where its quirks show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import argrelextrema

from cospeech.metrics import BeatRule, audio_beats, beat_alignment, joint_speeds, rectified, score_beats, speed_minima

RULE = BeatRule(joints=(0, 1), margin_seconds=1.0)


def clip(frames: int = 300, joints: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, joints, 3, generator=generator).cumsum(0) * 0.02


def slow_score(positions, onsets, rate_hz, usual, rule):
    """Loops over onsets and beats, as the programs have them."""
    x = positions.numpy()
    if rule.rectify:
        x = np.abs(x - x.mean(0))
    speed = np.linalg.norm(np.gradient(x, 1 / rate_hz, axis=0), axis=-1) / usual.numpy()
    margin = rule.margin_frames(rate_hz)
    scores = []
    for joint in rule.joints:
        minima = argrelextrema(speed[margin : len(speed) - margin, joint], np.less, order=rule.order)[0]
        shift = 0 if rule.threshold_frame == "shifted" else margin
        beats = [j / rate_hz for j in minima if speed[j + shift, joint] > rule.threshold]
        total = 0.0
        for onset in onsets.tolist():
            if beats:
                total += np.exp(-min((beat - onset) ** 2 for beat in beats) / (2 * rule.sigma_seconds**2))
        scores.append(total / len(onsets))
    return np.mean(scores)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("frame", ["shifted", "same"])
def test_equals_the_slow_twin(rectify, frame):
    rule = replace(RULE, rectify=rectify, threshold_frame=frame, threshold=0.5)
    usual = torch.tensor([0.8, 1.1])
    for seed in range(3):
        positions = clip(seed=seed)
        onsets = torch.rand(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 8
        found = beat_alignment(positions, onsets, rate_hz=30.0, usual_speeds=usual, rule=rule)
        assert found.score.item() == pytest.approx(slow_score(positions, onsets, 30.0, usual, rule), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=60), order=st.integers(1, 8)
)  # few values, so that there are ties
def test_minima_are_scipys(values, order):
    series = np.array(values, dtype=np.float32)
    found = speed_minima(torch.from_numpy(series)[:, None], order)[:, 0].nonzero().flatten()
    assert found.tolist() == argrelextrema(series, np.less, order=order)[0].tolist()


def test_speed_of_a_known_motion():
    x = torch.zeros(10, 1, 3)
    x[:, 0, 2] = torch.arange(10) * 0.1
    torch.testing.assert_close(joint_speeds(x, 30.0), torch.full((10, 1), 3.0))


def test_input_is_not_touched():
    positions = clip()
    before = positions.clone()
    rectified(positions)
    beat_alignment(positions, torch.ones(1), rate_hz=30.0, usual_speeds=torch.ones(2), rule=replace(RULE, rectify=True))
    assert torch.equal(positions, before)


def test_still_joints_count_as_zero_or_not_at_all():
    beats, onsets = [torch.tensor([1.0, 2.0]).double(), torch.zeros(0).double()], torch.tensor([1.0, 2.0])
    assert score_beats(beats, onsets, RULE)[0].item() == 0.5
    assert score_beats(beats, onsets, replace(RULE, still_joints="skip"))[0].item() == 1.0
    assert score_beats(beats, onsets[:0], RULE)[0].isnan()  # nothing to score is not a score


def test_silence_has_no_beats():
    assert len(audio_beats(torch.zeros(160_000), num_frames=300, rate_hz=30.0, rule=BeatRule())) == 0
    assert len(audio_beats(torch.zeros(100), num_frames=300, rate_hz=30.0, rule=BeatRule())) == 0


def test_errors_say_what_must_hold():
    with pytest.raises(ValueError, match="`audio` must be one of motion, file; got 'both'"):
        BeatRule(audio="both")
    with pytest.raises(ValueError, match="more than 60 frames; got 60"):
        beat_alignment(clip(60), torch.ones(1), rate_hz=30.0, usual_speeds=torch.ones(2), rule=RULE)
    with pytest.raises(ValueError, match="2 frames at least; got 1"):
        joint_speeds(clip(1), 30.0)
