"""SMPL-X takes as recordings of BEAT: on its skeleton, at its rate, with what little of its face there is.

For rehearsals of a training where BEAT is not at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from cospeech.data.beat import BEAT_RATE_HZ, beat_recording
from cospeech.data.beat2 import Recording
from cospeech.data.sources import Source
from cospeech.motion import Motion, frame_positions, retarget_motion, sample_linear
from cospeech.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from cospeech.skeleton import BEAT_ARKIT_NAMES, BEAT_GESTURE_JOINTS, SMPLX, global_to_local

__all__ = ["JAW_OPEN_RADIANS", "BeatRetargeted"]

JAW_OPEN_RADIANS = 0.5
"""The jaw's pitch that counts as a mouth wide open, the weight 1."""


class BeatRetargeted(NamedTuple):
    """Any source of SMPL-X recordings, as ``BeatSource`` would give them.

    Bones point as before; of the 51 weights of the face only the open jaw can be had, and the others rest.

    Attributes:
        source: Of recordings with global rotations of 55 joints.
    """

    source: Source

    def names(self) -> list[str]:
        """See ``Source``."""
        return self.source.names()

    def load(self, name: str) -> Recording:
        """See ``Source``."""
        recording = self.source.load(name)
        local = global_to_local(axis_angle_to_matrix(recording.axis_angle), SMPLX)
        motion = Motion(
            local_axis_angle=matrix_to_axis_angle(local),
            translation=recording.translation,
            rate_hz=recording.rate_hz,
        ).resample(BEAT_RATE_HZ)
        weights = torch.zeros(motion.num_frames, len(BEAT_ARKIT_NAMES))
        pitch = motion.local_axis_angle[:, SMPLX.index("jaw"), 0]
        weights[:, BEAT_ARKIT_NAMES.index("jawOpen")] = (pitch / JAW_OPEN_RADIANS).clamp(0, 1)
        places = frame_positions(len(recording.semantic), recording.rate_hz, BEAT_RATE_HZ)
        return beat_recording(
            retarget_motion(motion).local_axis_angle[:, list(BEAT_GESTURE_JOINTS)],
            weights,
            recording.waveform,
            name=name,
            speaker=recording.speaker,
            semantic=sample_linear(recording.semantic, places),
        )

    def fingerprint(self, name: str) -> str:
        """See ``Source``."""
        return self.source.fingerprint(name)
