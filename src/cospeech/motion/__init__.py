"""What a clip is: one immutable value that travels between everything else."""

from cospeech.motion.motion import Motion
from cospeech.motion.resample import frame_positions, sample_linear, sample_rotations
from cospeech.motion.retarget import retarget_motion
from cospeech.motion.windows import crossfade_linear, crossfade_rotations, window_slices

__all__ = [
    "Motion",
    "crossfade_linear",
    "crossfade_rotations",
    "frame_positions",
    "retarget_motion",
    "sample_linear",
    "sample_rotations",
    "window_slices",
]
