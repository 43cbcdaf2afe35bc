"""Noise schedules and solver steps as tables and pure functions."""

from cospeech.schedulers.betas import cosine_betas, linear_betas, scaled_linear_betas
from cospeech.schedulers.ddim import ddim_steps
from cospeech.schedulers.ddpm import Variance, ddpm_steps, learned_deviation
from cospeech.schedulers.diffusers_api import DDIMScheduler, DDPMScheduler, SchedulerConfig, SchedulerOutput
from cospeech.schedulers.flow_matching import (
    flow_euler_steps,
    flow_interpolate,
    flow_mixture,
    flow_renoise_steps,
    flow_times,
    flow_velocity,
)
from cospeech.schedulers.noise_schedule import NoiseSchedule
from cospeech.schedulers.prediction import Mixture, Prediction, Weights, convert_prediction, weigh
from cospeech.schedulers.spacing import (
    jump_walk,
    leading_spacing,
    linspace_spacing,
    section_spacing,
    strided_spacing,
    trailing_spacing,
)
from cospeech.schedulers.steps import StepTable

__all__ = [
    "DDIMScheduler",
    "DDPMScheduler",
    "Mixture",
    "NoiseSchedule",
    "Prediction",
    "SchedulerConfig",
    "SchedulerOutput",
    "StepTable",
    "Variance",
    "Weights",
    "convert_prediction",
    "cosine_betas",
    "ddim_steps",
    "ddpm_steps",
    "flow_euler_steps",
    "flow_interpolate",
    "flow_mixture",
    "flow_renoise_steps",
    "flow_times",
    "flow_velocity",
    "jump_walk",
    "leading_spacing",
    "learned_deviation",
    "linear_betas",
    "linspace_spacing",
    "scaled_linear_betas",
    "section_spacing",
    "strided_spacing",
    "trailing_spacing",
    "weigh",
]
