"""Data sets: recordings, windows, what is prepared once and kept; the procedural corpus is ``synthetic``."""

from cospeech.data.beat2 import (
    MotionWindow,
    Recording,
    iter_recordings,
    load_recording,
    load_rest_joints,
    mirror_window,
    read_semantic_scores,
    read_split,
    window_starts,
)
from cospeech.data.cache import FeatureCache, RevisedFeatures
from cospeech.data.globaldiff_lmdb import GlobalDiffLMDB
from cospeech.data.shards import WindowShards, write_shards

__all__ = [
    "FeatureCache",
    "GlobalDiffLMDB",
    "MotionWindow",
    "Recording",
    "RevisedFeatures",
    "WindowShards",
    "iter_recordings",
    "load_recording",
    "load_rest_joints",
    "mirror_window",
    "read_semantic_scores",
    "read_split",
    "window_starts",
    "write_shards",
]
