"""Training steps of published networks: terms of the loss, targets, what is drawn."""

from cospeech.training.causal_tae import TAELosses, encode_latents, tae_learning_rate, tae_losses, tae_step_losses
from cospeech.training.globaldiff import (
    DenoiserBatch,
    DenoiserLosses,
    DenoiserObjective,
    DenoiserTarget,
    DenoiserWeights,
    StepDraws,
    adam,
    denoiser_losses,
    draw_step,
    hear_expressions,
    optimizer_step,
    speech_loss,
)
from cospeech.training.masked_vae import VAEDraws, VAELosses, VAETrainingConfig, draw_vae_step, vae_losses
from cospeech.training.motion_errors import MeasuredMotion, anchored_losses, measure_motion, reconstruction_angles

__all__ = [
    "DenoiserBatch",
    "DenoiserLosses",
    "DenoiserObjective",
    "DenoiserTarget",
    "DenoiserWeights",
    "MeasuredMotion",
    "StepDraws",
    "TAELosses",
    "VAEDraws",
    "VAELosses",
    "VAETrainingConfig",
    "adam",
    "anchored_losses",
    "denoiser_losses",
    "draw_step",
    "draw_vae_step",
    "encode_latents",
    "hear_expressions",
    "measure_motion",
    "optimizer_step",
    "reconstruction_angles",
    "speech_loss",
    "tae_learning_rate",
    "tae_losses",
    "tae_step_losses",
    "vae_losses",
]
