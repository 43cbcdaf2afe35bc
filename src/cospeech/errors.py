"""Exceptions that a caller may want to catch by name; plain bad arguments raise ``ValueError`` or ``TypeError``."""

__all__ = [
    "AudioError",
    "CheckpointError",
    "CospeechError",
    "EvaluationError",
    "LicenceError",
    "MissingExtraError",
    "ModelNotFoundError",
    "MotionFileError",
]


class CospeechError(Exception):
    """Base of every error that cospeech raises about files and the environment."""


class AudioError(CospeechError):
    """An audio source cannot be decoded, or holds nothing usable."""


class MotionFileError(CospeechError):
    """A motion file cannot be read as what its suffix says."""


class EvaluationError(CospeechError):
    """Clips cannot be measured as asked; the message names each and says why."""


class CheckpointError(CospeechError):
    """Weights or a configuration do not fit the model they are for."""


class LicenceError(CospeechError):
    """The terms of a checkpoint do not allow what it is wanted for."""


class MissingExtraError(CospeechError, ImportError):
    """An optional package is needed and not installed; the message names the extra."""


class ModelNotFoundError(CospeechError):
    """A model is neither here nor to be fetched."""
