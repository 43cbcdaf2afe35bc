"""Waveform or text in, Motion out; whole clips or streams."""

from cospeech.pipelines.camn import CAMN_REPOSITORY, DISCO_REPOSITORY, UpperBodyPipeline
from cospeech.pipelines.diffsheg import DiffSHEGPipeline
from cospeech.pipelines.diffsheg_speech import DiffSHEGWindow, ProsodyTrack, SpeechTrack
from cospeech.pipelines.diffsheg_windows import DiffSHEGSampling
from cospeech.pipelines.emage import EmagePipeline
from cospeech.pipelines.emage_published import (
    EMAGE_REPOSITORY,
    PublishedEmage,
    load_published_emage,
    load_published_emage_codec,
    make_emage_codec,
    save_published_emage,
)
from cospeech.pipelines.globaldiff import GlobalDiffPipeline
from cospeech.pipelines.globaldiff_published import GLOBALDIFF_REPOSITORY, PublishedGlobalDiff, published_file
from cospeech.pipelines.hints import GestureHints
from cospeech.pipelines.loading import load_pipeline
from cospeech.pipelines.motionstreamer import MotionStreamerPipeline
from cospeech.pipelines.motionstreamer_published import (
    MOTIONSTREAMER_REPOSITORY,
    PublishedTAE,
    load_published_motionstreamer,
    load_published_tae,
)
from cospeech.pipelines.motionstreamer_settings import MotionStreamerSettings, TextPrompt
from cospeech.pipelines.pipeline import MotionPipeline, Pipeline, ProgressCallback
from cospeech.pipelines.speech_windows import SpeechWindow, WindowClock

__all__ = [
    "CAMN_REPOSITORY",
    "DISCO_REPOSITORY",
    "EMAGE_REPOSITORY",
    "GLOBALDIFF_REPOSITORY",
    "MOTIONSTREAMER_REPOSITORY",
    "DiffSHEGPipeline",
    "DiffSHEGSampling",
    "DiffSHEGWindow",
    "EmagePipeline",
    "GestureHints",
    "GlobalDiffPipeline",
    "MotionPipeline",
    "MotionStreamerPipeline",
    "MotionStreamerSettings",
    "Pipeline",
    "ProgressCallback",
    "ProsodyTrack",
    "PublishedEmage",
    "PublishedGlobalDiff",
    "PublishedTAE",
    "SpeechTrack",
    "SpeechWindow",
    "TextPrompt",
    "UpperBodyPipeline",
    "WindowClock",
    "load_pipeline",
    "load_published_emage",
    "load_published_emage_codec",
    "load_published_motionstreamer",
    "load_published_tae",
    "make_emage_codec",
    "published_file",
    "save_published_emage",
]
