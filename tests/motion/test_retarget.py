from __future__ import annotations

import torch

from cospeech.data.synthetic import make_clip
from cospeech.motion import Motion, retarget_motion
from cospeech.representations import DiffSHEGBeat
from cospeech.skeleton import BEAT, BEAT_FROM_SMPLX, SMPLX


def clip(seconds=2.0):
    made = make_clip(seconds, 1, seed=3)
    return Motion.from_local_rotations(
        made.local_rotations.double(), translation=made.translation.double(), expressions=made.expressions, rate_hz=30
    )


def test_feet_stay_about_the_ground_and_the_figure_upright():
    motion = clip()
    there, here = retarget_motion(motion).joints(), motion.joints()
    assert there.shape == (60, 75, 3)
    ankles = [f"{side}Foot" for side in ("Left", "Right")]
    for name in ankles:
        ours, theirs = there[:, BEAT.index(name), 1], here[:, SMPLX.index(BEAT_FROM_SMPLX[name]), 1]
        assert (ours - theirs).abs().max() < 0.12
    assert (there[:, BEAT.index("Head"), 1] - there[:, BEAT.index("Hips"), 1]).min() > 0.4


def test_hands_reach_where_the_partner_s_reach():
    """Not the places, which the proportions change, but the way there: seen from the shoulder they go together."""
    motion = clip()
    there, here = retarget_motion(motion).joints(), motion.joints()
    ours = there[:, BEAT.index("LeftHand")] - there[:, BEAT.index("LeftArm")]
    theirs = here[:, SMPLX.index("left_wrist")] - here[:, SMPLX.index("left_shoulder")]
    assert torch.cosine_similarity(ours, theirs, dim=-1).min() > 0.98


def test_what_diffsheg_keeps_is_the_upper_body():
    """Gestures alone carry the arms: decoded, they point as before as seen from the hips, but for the base pose."""
    expressions = torch.rand(30, 51, dtype=torch.float64)
    motion = retarget_motion(clip().resample(15), expressions=expressions)
    representation = DiffSHEGBeat(mean=torch.zeros(192), std=torch.ones(192))
    again = representation.encode(representation.decode(representation.encode(motion)))
    torch.testing.assert_close(again, representation.encode(motion))
    torch.testing.assert_close(again[:, 141:], expressions)
