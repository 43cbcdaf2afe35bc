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
from cospeech.data.emage import (
    EmageBatch,
    EmageTake,
    EmageWindows,
    ListedWindow,
    emage_take,
    emage_window_starts,
    load_emage_take,
    read_window_list,
)
from cospeech.data.globaldiff_lmdb import GlobalDiffLMDB
from cospeech.data.shards import WindowShards, write_shards

__all__ = [
    "EmageBatch",
    "EmageTake",
    "EmageWindows",
    "FeatureCache",
    "GlobalDiffLMDB",
    "ListedWindow",
    "MotionWindow",
    "Recording",
    "RevisedFeatures",
    "WindowShards",
    "emage_take",
    "emage_window_starts",
    "iter_recordings",
    "load_emage_take",
    "load_recording",
    "load_rest_joints",
    "mirror_window",
    "read_semantic_scores",
    "read_split",
    "read_window_list",
    "window_starts",
    "write_shards",
]
