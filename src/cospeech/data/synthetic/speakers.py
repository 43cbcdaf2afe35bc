"""Four people who move differently; every number that tells them apart is here.

Points are in metres from the middle of the shoulders, in the frame of the chest: out to the hand's own side, up,
forward. Angles are radians.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SPEAKERS", "HandRest", "SpeakerStyle"]

Point = tuple[float, float, float]


class HandRest(NamedTuple):
    """Where a hand waits."""

    wrist: Point
    pronation: float  # 0: thumb up before the body; positive: palm down
    wrist_flexion: float
    curl: float  # of the fingers, 0 flat, 1 loose fist


class SpeakerStyle(NamedTuple):
    """How one person stands, waits and gestures."""

    name: str
    left_rest: HandRest
    right_rest: HandRest
    left_share: float  # share of gestures by the left hand alone
    right_share: float  # ... by the right hand alone; the rest is two-handed
    centre: Point  # where beats are made
    amplitude: float  # metres from the top of a beat to its end, for the strongest stress
    stroke: Point  # direction of the stroke
    stroke_seconds: float
    weakest_stress: float  # weaker stresses get no gesture
    pronation: float  # of a gesturing hand
    curl: float  # of a gesturing hand
    elbow_out: float  # how far elbows point away from the body
    nod: float  # radians of a nod on the strongest stress
    gaze_side: float  # where the listeners are, as an angle of the head
    gaze_range: float
    lean: float  # of the trunk forward
    sway: float  # metres of a weight shift to either side
    half_stance: float  # metres from the middle to a foot
    toe_out: float
    left_foot_forward: float
    breath_hz: float


SPEAKERS: tuple[SpeakerStyle, ...] = (
    SpeakerStyle(
        name="one hand, calm: right-handed, arms hanging between phrases",
        left_rest=HandRest((0.235, -0.470, 0.060), 0.5, 0.05, 0.50),
        right_rest=HandRest((0.230, -0.468, 0.070), 0.5, 0.05, 0.50),
        left_share=0.05,
        right_share=0.85,
        centre=(0.17, -0.26, 0.29),
        amplitude=0.15,
        stroke=(0.25, -0.90, 0.35),
        stroke_seconds=0.26,
        weakest_stress=0.62,
        pronation=0.35,
        curl=0.38,
        elbow_out=0.35,
        nod=0.09,
        gaze_side=0.10,
        gaze_range=0.16,
        lean=0.03,
        sway=0.022,
        half_stance=0.105,
        toe_out=0.16,
        left_foot_forward=0.0,
        breath_hz=0.23,
    ),
    SpeakerStyle(
        name="two hands, wide: open palms, hands together at the waist between phrases",
        left_rest=HandRest((0.070, -0.335, 0.225), 0.55, 0.15, 0.40),
        right_rest=HandRest((0.075, -0.320, 0.255), 0.65, 0.15, 0.40),
        left_share=0.05,
        right_share=0.10,
        centre=(0.25, -0.25, 0.27),
        amplitude=0.21,
        stroke=(0.65, -0.65, 0.30),
        stroke_seconds=0.30,
        weakest_stress=0.60,
        pronation=-0.95,
        curl=0.15,
        elbow_out=0.75,
        nod=0.06,
        gaze_side=0.0,
        gaze_range=0.26,
        lean=0.06,
        sway=0.035,
        half_stance=0.135,
        toe_out=0.24,
        left_foot_forward=0.05,
        breath_hz=0.28,
    ),
    SpeakerStyle(
        name="left hand, quick and small: right hand at the belly",
        left_rest=HandRest((0.215, -0.455, 0.110), 0.3, 0.0, 0.55),
        right_rest=HandRest((0.060, -0.290, 0.215), 0.75, 0.1, 0.55),
        left_share=0.90,
        right_share=0.02,
        centre=(0.13, -0.19, 0.30),
        amplitude=0.10,
        stroke=(0.05, -0.95, 0.30),
        stroke_seconds=0.20,
        weakest_stress=0.60,
        pronation=0.9,
        curl=0.62,
        elbow_out=0.55,
        nod=0.13,
        gaze_side=-0.14,
        gaze_range=0.20,
        lean=0.0,
        sway=0.014,
        half_stance=0.085,
        toe_out=0.10,
        left_foot_forward=-0.03,
        breath_hz=0.31,
    ),
    SpeakerStyle(
        name="both hands high, forward: arms half bent between phrases, leaning in",
        left_rest=HandRest((0.205, -0.400, 0.215), 0.15, -0.05, 0.35),
        right_rest=HandRest((0.205, -0.395, 0.225), 0.15, -0.05, 0.35),
        left_share=0.10,
        right_share=0.25,
        centre=(0.15, -0.13, 0.33),
        amplitude=0.17,
        stroke=(-0.10, -0.70, 0.70),
        stroke_seconds=0.23,
        weakest_stress=0.60,
        pronation=0.05,
        curl=0.25,
        elbow_out=0.5,
        nod=0.16,
        gaze_side=0.0,
        gaze_range=0.12,
        lean=0.11,
        sway=0.028,
        half_stance=0.115,
        toe_out=0.20,
        left_foot_forward=0.10,
        breath_hz=0.26,
    ),
)
