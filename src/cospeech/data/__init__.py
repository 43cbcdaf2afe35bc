"""Data sets: recordings, windows, what is prepared once and kept; the procedural corpus is ``synthetic``."""

from cospeech.data.babel272 import Babel272, BabelStream272, stream_latents
from cospeech.data.beat import BeatSource
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
from cospeech.data.beat_retargeted import BeatRetargeted
from cospeech.data.cache import FeatureCache, RevisedFeatures
from cospeech.data.clips import Babel272Source, ClipMaker, ClipShards, FeatureClip, HumanML272Source, MotionFeatures
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
from cospeech.data.prepare import PreparedReport, TakeRules, WindowMaker, broken_shards, prepare
from cospeech.data.shards import WindowShards, write_shard, write_shards
from cospeech.data.sources import Beat2Source, FilesSource, NpzFolderSource, ProceduralSource, Source, motion_recording
from cospeech.data.streamer272 import FeatureWindows, LatentClips
from cospeech.data.streaming import RemoteWindows
from cospeech.data.webdataset_writing import index_tars, write_tars

__all__ = [
    "Babel272",
    "Babel272Source",
    "BabelStream272",
    "Beat2Source",
    "BeatRetargeted",
    "BeatSource",
    "CaptionedLatents",
    "ClipMaker",
    "ClipShards",
    "EmageBatch",
    "EmageTake",
    "EmageWindows",
    "FeatureCache",
    "FeatureClip",
    "FeatureWindows",
    "FilesSource",
    "GlobalDiffLMDB",
    "HumanML272",
    "HumanML272Source",
    "LatentBatch",
    "LatentClips",
    "ListedWindow",
    "MotionFeatures",
    "MotionWindow",
    "NpzFolderSource",
    "PreparedReport",
    "ProceduralSource",
    "Recording",
    "RemoteWindows",
    "RevisedFeatures",
    "Source",
    "StreamCaption",
    "TakeRules",
    "TimedCaption",
    "WindowMaker",
    "WindowShards",
    "broken_shards",
    "captioned_latents",
    "collate_latents",
    "emage_take",
    "emage_window_starts",
    "humanml_latents",
    "index_tars",
    "iter_recordings",
    "load_emage_take",
    "load_recording",
    "load_rest_joints",
    "mirror_window",
    "motion_recording",
    "parse_captions",
    "parse_stream_captions",
    "prepare",
    "read_semantic_scores",
    "read_split",
    "read_window_list",
    "shorten_latents",
    "stream_latents",
    "window_starts",
    "write_shard",
    "write_shards",
    "write_tars",
]
