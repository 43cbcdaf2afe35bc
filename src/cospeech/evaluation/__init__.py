"""The published test protocols, exact and by name, and a corrected one; from folders of clips to a table."""

from cospeech.evaluation.clips import ClipMeasures, clip_features, gesture_positions, measure_clip, pose_features
from cospeech.evaluation.evaluate import Evaluation, comparison_table, evaluate_folders
from cospeech.evaluation.folders import ClipFiles, Problem, find_clips, measure_folders
from cospeech.evaluation.protocols import (
    BEAT2_MEAN_SPEEDS,
    PROTOCOLS,
    FeatureRule,
    Protocol,
    get_protocol,
)
from cospeech.evaluation.summary import AlignmentTest, Metric, alignment_test, summarize

__all__ = [
    "BEAT2_MEAN_SPEEDS",
    "PROTOCOLS",
    "AlignmentTest",
    "ClipFiles",
    "ClipMeasures",
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
    "measure_clip",
    "measure_folders",
    "pose_features",
    "summarize",
]
