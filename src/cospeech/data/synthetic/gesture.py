"""What the hands and the head do about the stresses of speech.

A beat has four parts: preparation (the hand rises), stroke (it comes down and stops with the stressed vowel), a small
recoil, and a hold until the next one; after the last stress of a phrase the hand retracts to where it waits.

Reference:
    Kendon, "Gesture: Visible Action as Utterance", 2004 (phases); McNeill, "Hand and Mind", 1992 (beats and their
    timing: the stroke ends at or just before the stressed syllable's peak).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cospeech.data.synthetic.curves import Track, slow_noise
from cospeech.data.synthetic.speakers import HandRest, SpeakerStyle
from cospeech.data.synthetic.stress import Stresses

__all__ = ["Beat", "GesturePlan", "HandPlan", "HeadPlan", "plan_gestures", "plan_head"]

STROKE_DELAY_SECONDS = 0.04  # from the beginning of the vowel to the end of the stroke: where its loudness peaks
PREPARATION_SECONDS = 0.36
OVERLAP_SECONDS = 0.10  # the stroke begins before the preparation has ended
LIFTING_SPEED = 0.9  # metres per second on average, at most
RECOIL_SECONDS, RECOIL_SHARE = 0.28, 0.22
HAND_LAG_SECONDS = 0.03  # wrist and fingers follow the arm
NEW_PHRASE_SECONDS = 1.5  # without a stress, the hands go to rest
RETRACTION_SECONDS = 0.85


class Beat(NamedTuple):
    """One stroke: when it begins and ends, in seconds, and by which hands."""

    start: float
    end: float
    strength: float
    left: bool
    right: bool


class HandPlan(NamedTuple):
    """One hand over time, as seen from its own side."""

    wrist: NDArray[np.float64]  # (T, 3) outward, up, forward of the middle of the shoulders, metres
    pronation: NDArray[np.float64]  # (T) radians
    flexion: NDArray[np.float64]  # (T) radians
    curl: NDArray[np.float64]  # (T)


class GesturePlan(NamedTuple):
    """Both hands and the strokes that they make."""

    left: HandPlan
    right: HandPlan
    beats: list[Beat]


class HeadPlan(NamedTuple):
    """Head and eyes over time; angles in radians."""

    nod: NDArray[np.float64]  # (T) forward
    yaw: NDArray[np.float64]  # (T) to the left
    tilt: NDArray[np.float64]  # (T) sideways
    gaze: NDArray[np.float64]  # (T) where the eyes look, to the left of straight ahead


class _Hand:
    """A hand that is being planned: its rest, and reaches for the arm and, a little later, for wrist and fingers."""

    def __init__(self, rest: HandRest):
        self.rest_wrist = np.array(rest.wrist)
        self.rest_hand = np.array([rest.pronation, rest.wrist_flexion, rest.curl])
        self.arm, self.hand = Track(self.rest_wrist), Track(self.rest_hand)

    def reach(self, wrist: NDArray[np.float64], hand: NDArray[np.float64], start: float, end: float) -> None:
        self.arm.reach(wrist, start, end)
        self.hand.reach(hand, start + HAND_LAG_SECONDS, end + HAND_LAG_SECONDS)

    def plan(self, seconds: NDArray[np.float64]) -> HandPlan:
        pronation, flexion, curl = self.hand.curve(seconds).T
        return HandPlan(self.arm.curve(seconds), pronation, flexion, curl)


def plan_gestures(
    stresses: Stresses, style: SpeakerStyle, seconds: NDArray[np.float64], generator: np.random.Generator
) -> GesturePlan:
    """Beats on the stresses, for one speaker.

    Args:
        stresses: When and how strongly the speech is stressed.
        style: Who gestures.
        seconds: Times of the frames, ``(T)``.
        generator: Draws hands, places and sizes.
    """
    left, right = _Hand(style.left_rest), _Hand(style.right_rest)
    beats: list[Beat] = []
    free_from = 0.0  # when the hands have ended what they were doing
    for phrase in _phrases(stresses, style):
        hands, is_left, is_right = _choose_hands(left, right, style, generator)
        for vowel, strength in phrase:
            end = vowel + STROKE_DELAY_SECONDS
            start = end - style.stroke_seconds
            place = np.array(style.centre) + generator.normal(0, [0.025, 0.018, 0.018])
            size = style.amplitude * (0.35 + 0.65 * strength)
            step = size * np.array(style.stroke) / np.linalg.norm(style.stroke)
            way = max(float(np.linalg.norm(hand.arm.target - (place - 0.5 * step))) for hand in hands)
            rise = max(PREPARATION_SECONDS, 1.15 * way / LIFTING_SPEED)
            begin = max(start + OVERLAP_SECONDS - rise, free_from)
            if start + OVERLAP_SECONDS - begin < max(way / LIFTING_SPEED, 0.12):
                continue  # no time to lift the hand: the clip has just begun, or the other hand was busy
            palm = style.pronation + generator.normal(0, 0.08)
            for hand in hands:
                own_place = place + generator.normal(0, 0.008, 3)
                top, bottom = own_place - 0.5 * step, own_place + 0.5 * step
                open_ = max(style.curl - 0.18, 0.02)
                hand.reach(top, np.array([palm + 0.2, -0.32, style.curl]), begin, start + OVERLAP_SECONDS)
                hand.reach(bottom, np.array([palm - 0.15, 0.16, open_]), start, end)
                back = bottom - RECOIL_SHARE * step
                hand.reach(back, np.array([palm, -0.04, style.curl]), end - 0.02, end + RECOIL_SECONDS)
            beats.append(Beat(start, end, strength, is_left, is_right))
            free_from = end + 0.04
        begin = free_from + generator.uniform(0.42, 0.5)
        for hand in hands:
            hand.reach(hand.rest_wrist, hand.rest_hand, begin, begin + RETRACTION_SECONDS)
        free_from = begin + 0.3
    return GesturePlan(left.plan(seconds), right.plan(seconds), beats)


def plan_head(
    stresses: Stresses, style: SpeakerStyle, seconds: NDArray[np.float64], generator: np.random.Generator
) -> HeadPlan:
    """Nods on the stresses, and looks from listener to listener; the eyes arrive before the head."""
    nod, yaw, gaze = Track([0.0]), Track([style.gaze_side]), Track([style.gaze_side])
    for vowel, strength in zip(*stresses, strict=True):
        end = vowel + STROKE_DELAY_SECONDS + 0.03
        nod.reach([style.nod * strength], end - 0.26, end)
        nod.reach([0.0], end - 0.02, end + 0.40)
    clock = generator.uniform(1.5, 3.5)
    while clock < seconds[-1]:
        listener = style.gaze_side + style.gaze_range * generator.choice([-1.0, 0.0, 1.0])
        gaze.reach([listener], clock, clock + 0.1)
        yaw.reach([listener], clock + 0.08, clock + 0.75)
        clock += generator.uniform(1.8, 4.5)
    tilt = 0.02 * slow_noise(len(seconds), 1, 25, generator)[:, 0]
    tilt *= np.clip(seconds, 0.0, 1.0)
    return HeadPlan(nod.curve(seconds)[:, 0], yaw.curve(seconds)[:, 0], tilt, gaze.curve(seconds)[:, 0])


def _phrases(stresses: Stresses, style: SpeakerStyle) -> list[list[tuple[float, float]]]:
    """Stresses that this speaker gestures on, cut where the hands have time to rest."""
    phrases: list[list[tuple[float, float]]] = []
    previous = -np.inf
    for vowel, strength in zip(*stresses, strict=True):
        if strength < style.weakest_stress:
            continue
        if vowel - previous > NEW_PHRASE_SECONDS:
            phrases.append([])
        if vowel - previous < style.stroke_seconds + 0.16:
            continue
        phrases[-1].append((float(vowel), float(strength)))
        previous = vowel
    return phrases


def _choose_hands(
    left: _Hand, right: _Hand, style: SpeakerStyle, generator: np.random.Generator
) -> tuple[list[_Hand], bool, bool]:
    draw = generator.uniform()
    if draw < style.left_share:
        return [left], True, False
    if draw < style.left_share + style.right_share:
        return [right], False, True
    return [left, right], True, True
