"""Hints: what is visible goes in, what is hidden has no say, and what cannot be meant is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cospeech.motion import Motion
from cospeech.pipelines import GestureHints
from cospeech.representations import Emage337
from cospeech.skeleton import SMPL22, SMPLX


def clip(num_frames: int = 12, seed: int = 0, **changes: object) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    fields = {
        "local_axis_angle": 0.4 * torch.randn(num_frames, 55, 3, generator=generator),
        "translation": torch.randn(num_frames, 3, generator=generator),
        "rate_hz": 30,
    }
    return Motion(**(fields | changes))


def test_all_visible_is_the_motion_itself() -> None:
    motion = clip()
    channels = GestureHints(motion, torch.ones(12, 55, dtype=torch.bool)).channels()
    assert torch.equal(channels.motion, Emage337().encode(motion))
    assert not channels.hidden.any()


def test_joint_by_joint() -> None:
    motion, visible = clip(), torch.rand(12, 55) < 0.5
    visible[3], visible[4] = False, True
    motion_channels, hidden = GestureHints(motion, visible).channels()
    layout = Emage337().layout
    shown = {name: ~part for name, part in layout.split(hidden).items()}
    assert torch.equal(shown["rotations"].reshape(12, 55, 6), visible[..., None].expand(-1, -1, 6))
    assert torch.equal(shown["translation"], visible[:, [0]].expand(-1, 3))
    legs = visible[:, list(SMPLX.groups["lower"])].all(1)
    assert torch.equal(shown["contact"], legs[:, None].expand(-1, 4))
    assert torch.equal(motion_channels[~hidden], Emage337().encode(motion)[~hidden])
    assert motion_channels[3].tolist() == [1.0, 0, 0, 0, 1, 0] * 55 + [0.0] * 7


def test_what_is_hidden_may_hold_anything() -> None:
    visible = torch.rand(12, 55) < 0.5
    broken = clip().local_axis_angle.masked_fill(~visible[..., None], math.nan)
    clean = GestureHints(clip(), visible).channels()
    channels = GestureHints(clip(local_axis_angle=broken), visible).channels()
    # Contact is seen with all legs only, and none of them is hidden then.
    assert torch.equal(channels.motion, clean.motion)


@pytest.mark.parametrize(("start", "count"), [(0, 5), (8, 10), (12, 4), (30, 4)])
def test_windows(start: int, count: int) -> None:
    hints = GestureHints(clip(), torch.rand(12, 55) < 0.5).channels()
    window = hints.window(start, count, like=torch.zeros(1))
    known = max(0, min(count, 12 - start))
    assert torch.equal(window.motion[:known], hints.motion[start : start + known])
    assert torch.equal(window.hidden[:known], hints.hidden[start : start + known])
    assert window.hidden[known:].all()
    assert window.motion.shape == (count, 337)


@pytest.mark.parametrize("first", [0, 5, 12, 20])
def test_paste(first: int) -> None:
    motion, visible = clip(), torch.rand(12, 55) < 0.5
    piece = clip(9, seed=1)
    pasted = GestureHints(motion, visible).paste(piece, first)
    known = max(0, min(9, 12 - first))
    seen = visible[first : first + known]
    assert torch.equal(pasted.local_axis_angle[:known][seen], motion.local_axis_angle[first : first + known][seen])
    assert torch.equal(pasted.local_axis_angle[:known][~seen], piece.local_axis_angle[:known][~seen])
    assert torch.equal(pasted.local_axis_angle[known:], piece.local_axis_angle[known:])
    root = seen[:, 0]
    assert torch.equal(pasted.translation[:known][root], motion.translation[first : first + known][root])
    assert torch.equal(pasted.translation[:known][~root], piece.translation[:known][~root])


def test_errors() -> None:
    whole = torch.ones(12, 55, dtype=torch.bool)
    with pytest.raises(ValueError, match="must have the 55 joints of SMPL-X; got 22"):
        GestureHints(clip(local_axis_angle=torch.zeros(12, 22, 3), skeleton=SMPL22), whole)
    with pytest.raises(ValueError, match=r"`visible` must have shape \(12, 55\); got \(12, 337\)"):
        GestureHints(clip(), torch.ones(12, 337, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"`visible` must have shape \(12, 55\); got \(11, 55\)"):
        GestureHints(clip(), whole[1:])
    with pytest.raises(TypeError, match=r"`visible` must be bool, True where a joint is given; got torch\.float32"):
        GestureHints(clip(), whole.float())
    with pytest.raises(ValueError, match=r"must run at 30 Hz; got 15\. Use motion\.resample"):
        GestureHints(clip(rate_hz=15), whole)
    broken = clip().local_axis_angle.clone()
    broken[7, 22, 1] = math.nan
    with pytest.raises(ValueError, match="Visible hints must be finite; jaw in frame 7 is not"):
        GestureHints(clip(local_axis_angle=broken), whole)
    lost = replace(clip(), translation=torch.full((12, 3), math.inf))
    with pytest.raises(ValueError, match="pelvis in frame 0 is not"):
        GestureHints(lost, whole)
