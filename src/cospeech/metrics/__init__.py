"""Measures of generated motion: functions over features and clips; no network is loaded here."""

from cospeech.metrics.beat import beat_consistency, bootstrap_mean_interval, motion_beats, onset_peaks
from cospeech.metrics.kinematics import FootSlide, foot_slide, mean_jerk

__all__ = [
    "FootSlide",
    "beat_consistency",
    "bootstrap_mean_interval",
    "foot_slide",
    "mean_jerk",
    "motion_beats",
    "onset_peaks",
]
