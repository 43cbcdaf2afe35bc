"""The published test protocols, exact and by name, and a corrected one; from folders of clips to a table."""

from cospeech.evaluation.beat2_clips import measure_clip
from cospeech.evaluation.clips import ClipMeasures, clip_features, gesture_positions, pose_features
from cospeech.evaluation.evaluate import evaluate_folders
from cospeech.evaluation.folders import ClipFiles, ClipReader, Problem, find_clips, measure_clips
from cospeech.evaluation.plots import save_clip_beats, save_evaluation_plots
from cospeech.evaluation.protocols import (
    BEAT2_MEAN_SPEEDS,
    PROTOCOLS,
    FeatureRule,
    Protocol,
    get_protocol,
)
from cospeech.evaluation.readers import make_reader
from cospeech.evaluation.result import Evaluation, comparison_table
from cospeech.evaluation.statistics import load_statistics
from cospeech.evaluation.summary import AlignmentTest, Metric, alignment_test, summarize

__all__ = [
    "BEAT2_MEAN_SPEEDS",
    "PROTOCOLS",
    "AlignmentTest",
    "ClipFiles",
    "ClipMeasures",
    "ClipReader",
    "Evaluation",
    "FeatureRule",
    "Metric",
    "Problem",
    "Protocol",
    "alignment_test",
    "clip_features",
    "comparison_table",
    "evaluate_folders",
    "find_clips",
    "gesture_positions",
    "get_protocol",
    "load_statistics",
    "make_reader",
    "measure_clip",
    "measure_clips",
    "pose_features",
    "save_clip_beats",
    "save_evaluation_plots",
    "summarize",
]
