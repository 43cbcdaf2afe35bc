"""Motion files to plain tensors and back."""

from cospeech.io.arrays import MotionArrays
from cospeech.io.atomic import atomic_path
from cospeech.io.beat import BeatAngles, load_arkit_json, load_beat_bvh, save_arkit_json, save_beat_bvh
from cospeech.io.bvh import load_bvh, save_bvh
from cospeech.io.npz import load_npz, save_npz

__all__ = [
    "BeatAngles",
    "MotionArrays",
    "atomic_path",
    "load_arkit_json",
    "load_beat_bvh",
    "load_bvh",
    "load_npz",
    "save_arkit_json",
    "save_beat_bvh",
    "save_bvh",
    "save_npz",
]
