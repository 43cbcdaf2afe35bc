"""Measures of generated motion: functions over features and clips; no network is loaded here."""

from cospeech.metrics.beat import beat_consistency, bootstrap_mean_interval, motion_beats, onset_peaks
from cospeech.metrics.frechet import frechet_distance, frechet_distance_of_moments, globaldiff_frechet_distance
from cospeech.metrics.kinematics import FootSlide, foot_slide, mean_jerk

__all__ = [
    "FootSlide",
    "beat_consistency",
    "bootstrap_mean_interval",
    "foot_slide",
    "frechet_distance",
    "frechet_distance_of_moments",
    "globaldiff_frechet_distance",
    "mean_jerk",
    "motion_beats",
    "onset_peaks",
]
