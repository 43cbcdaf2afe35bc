"""Data sets: recordings, windows, what is prepared once and kept; the procedural corpus is ``synthetic``."""

from cospeech.data.babel272 import Babel272, BabelStream272, stream_latents
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
from cospeech.data.humanml272 import (
    CaptionedLatents,
    HumanML272,
    LatentBatch,
    StreamCaption,
    TimedCaption,
    captioned_latents,
    collate_latents,
    humanml_latents,
    parse_captions,
    parse_stream_captions,
    shorten_latents,
)
from cospeech.data.shards import WindowShards, write_shards
from cospeech.data.streamer272 import FeatureWindows, LatentClips

__all__ = [
    "Babel272",
    "BabelStream272",
    "CaptionedLatents",
    "EmageBatch",
    "EmageTake",
    "EmageWindows",
    "FeatureCache",
    "FeatureWindows",
    "GlobalDiffLMDB",
    "HumanML272",
    "LatentBatch",
    "LatentClips",
    "ListedWindow",
    "MotionWindow",
    "Recording",
    "RevisedFeatures",
    "StreamCaption",
    "TimedCaption",
    "WindowShards",
    "captioned_latents",
    "collate_latents",
    "emage_take",
    "emage_window_starts",
    "humanml_latents",
    "iter_recordings",
    "load_emage_take",
    "load_recording",
    "load_rest_joints",
    "mirror_window",
    "parse_captions",
    "parse_stream_captions",
    "read_semantic_scores",
    "read_split",
    "read_window_list",
    "shorten_latents",
    "stream_latents",
    "window_starts",
    "write_shards",
]
