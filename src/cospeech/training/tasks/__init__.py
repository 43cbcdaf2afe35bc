"""The trainings of cospeech by the names that recipes use."""

from __future__ import annotations

from typing import Any

from cospeech.training.tasks.camn import CamnTask, DiscoTask
from cospeech.training.tasks.diffsheg import DiffSHEGTask
from cospeech.training.tasks.emage import EmageGlobalMotionTask, EmageTransformerTask, EmageVQVAETask
from cospeech.training.tasks.evaluators import SkeletonAutoencoderTask
from cospeech.training.tasks.gesture_embedding import GestureEmbeddingTask
from cospeech.training.tasks.globaldiff import GlobalDiffSpeechTask, MaskedVAETask
from cospeech.training.tasks.globaldiff_denoiser import GlobalDiffDenoiserTask
from cospeech.training.tasks.motionstreamer import CausalTAETask, MotionStreamerTask
from cospeech.training.tasks.text_motion_evaluator import MotionEvaluatorTask
from cospeech.training.tasks.tiny import TinyDenoiserConfig, TinySpeechConfig

__all__ = ["TASKS"]

TASKS: dict[str, type[Any]] = {
    "emage-vqvae": EmageVQVAETask,
    "emage-global-motion": EmageGlobalMotionTask,
    "emage-transformer": EmageTransformerTask,
    "camn": CamnTask,
    "disco": DiscoTask,
    "globaldiff-vae": MaskedVAETask,
    "globaldiff-speech": GlobalDiffSpeechTask,
    "globaldiff-denoiser": GlobalDiffDenoiserTask,
    "diffsheg": DiffSHEGTask,
    "causal-tae": CausalTAETask,
    "motionstreamer": MotionStreamerTask,
    "motion-evaluator": MotionEvaluatorTask,
    "gesture-embedding": GestureEmbeddingTask,
    "skeleton-autoencoder": SkeletonAutoencoderTask,
    "tiny-speech": TinySpeechConfig,
    "tiny-denoiser": TinyDenoiserConfig,
}
"""What fills a recipe's ``[task]``, by its ``name``."""
