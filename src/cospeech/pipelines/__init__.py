"""Waveform or text in, Motion out; whole clips or streams."""

from cospeech.pipelines.globaldiff import GlobalDiffPipeline
from cospeech.pipelines.loading import load_pipeline
from cospeech.pipelines.pipeline import Pipeline, ProgressCallback
from cospeech.pipelines.speech_windows import SpeechWindow, WindowClock

__all__ = ["GlobalDiffPipeline", "Pipeline", "ProgressCallback", "SpeechWindow", "WindowClock", "load_pipeline"]
