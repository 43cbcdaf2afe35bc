"""The trainings of cospeech by the names that recipes use."""

from __future__ import annotations

from typing import Any

from cospeech.training.tasks.tiny import TinyDenoiserConfig, TinySpeechConfig

__all__ = ["TASKS"]

TASKS: dict[str, type[Any]] = {
    "tiny-speech": TinySpeechConfig,
    "tiny-denoiser": TinyDenoiserConfig,
}
"""What fills a recipe's ``[task]``, by its ``name``."""
