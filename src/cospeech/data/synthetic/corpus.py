"""Clips of speech and motion that belong together, made from a seed.

The corpus is ours to license, and it is honest about what it is: rules, not people. It has what a co-speech model must
pick up (beats on stresses, rest in silence, four ways to move) and none of the meaning of real gestures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cospeech.data.synthetic.body import pose_body
from cospeech.data.synthetic.face import plan_face
from cospeech.data.synthetic.gesture import Beat, plan_gestures, plan_head
from cospeech.data.synthetic.posture import plan_trunk
from cospeech.data.synthetic.speakers import SPEAKERS
from cospeech.data.synthetic.speech import SAMPLE_RATE_HZ, synthesize_speech
from cospeech.data.synthetic.stress import Stresses, find_stresses

__all__ = ["FRAME_RATE_HZ", "SyntheticClip", "animate_speech", "make_clip", "rest_clip"]

FRAME_RATE_HZ = 30


class SyntheticClip(NamedTuple):
    """Audio and the motion made for it."""

    waveform: Tensor  # (S,) float32, 16 kHz
    local_rotations: Tensor  # (T, 55, 3, 3) float32, SMPL-X joints in their parents' frames, 30 frames per second
    translation: Tensor  # (T, 3) float32, metres; the ground is y = 0
    expressions: Tensor  # (T, 100) float32; what they mean stands in `face.py`
    speaker: int  # 1 to 4
    stresses: Stresses  # what the gestures were timed to
    beats: list[Beat]  # the strokes


def make_clip(duration_seconds: float, speaker: int, seed: int) -> SyntheticClip:
    """Synthetic speech and the motion of one of the four speakers; the same seed gives the same clip.

    Args:
        duration_seconds: Length of the clip.
        speaker: 1 to 4.
        seed: Settles every draw.

    Raises:
        ValueError: If the speaker is unknown.

    Example:
        >>> clip = make_clip(2.0, speaker=1, seed=0)
        >>> clip.waveform.shape, clip.local_rotations.shape
        (torch.Size([32000]), torch.Size([60, 55, 3, 3]))
    """
    generator = np.random.default_rng([seed, speaker])
    speech = synthesize_speech(duration_seconds, generator)
    stresses = Stresses(speech.stress_seconds, speech.stress_strengths)
    return animate_speech(speech.waveform, speaker, generator, stresses)


def animate_speech(
    waveform: NDArray[np.float32], speaker: int, generator: np.random.Generator, stresses: Stresses | None = None
) -> SyntheticClip:
    """Motion for given speech, real or synthetic.

    Args:
        waveform: 16 kHz mono, ``(S,)``.
        speaker: 1 to 4.
        generator: Where every draw comes from.
        stresses: Where the speech is stressed; found in the audio when not given.

    Raises:
        ValueError: If the speaker is unknown.
    """
    if not 1 <= speaker <= len(SPEAKERS):
        raise ValueError(f"`speaker` must lie between 1 and {len(SPEAKERS)}; got {speaker}.")
    style = SPEAKERS[speaker - 1]
    stresses = find_stresses(waveform, SAMPLE_RATE_HZ) if stresses is None else stresses
    seconds = np.arange(max(1, round(len(waveform) / SAMPLE_RATE_HZ * FRAME_RATE_HZ))) / FRAME_RATE_HZ
    gestures = plan_gestures(stresses, style, seconds, generator)
    head = plan_head(stresses, style, seconds, generator)
    trunk = plan_trunk(stresses, style, seconds, generator)
    face = plan_face(waveform, SAMPLE_RATE_HZ, stresses, seconds)
    local_rotations, translation = pose_body(trunk, head, gestures, face.jaw, style)
    return SyntheticClip(
        waveform=torch.from_numpy(np.array(waveform, dtype=np.float32)),
        local_rotations=local_rotations.float(),
        translation=translation.float(),
        expressions=torch.from_numpy(face.expressions).float(),
        speaker=speaker,
        stresses=stresses,
        beats=gestures.beats,
    )


def rest_clip(speaker: int, num_frames: int = 8) -> SyntheticClip:
    """A speaker waiting in silence: the pose that every clip starts from, repeated."""
    silence = np.zeros(SAMPLE_RATE_HZ // FRAME_RATE_HZ + 1, dtype=np.float32)
    clip = animate_speech(silence, speaker, np.random.default_rng(0))
    return clip._replace(
        waveform=torch.zeros(round(num_frames * SAMPLE_RATE_HZ / FRAME_RATE_HZ)),
        local_rotations=clip.local_rotations[:1].repeat(num_frames, 1, 1, 1),
        translation=clip.translation[:1].repeat(num_frames, 1),
        expressions=clip.expressions[:1].repeat(num_frames, 1),
    )
