"""Sampling loops; they see callables, never a model class."""

from cospeech.samplers.autoregressive import autoregress, is_end_latent
from cospeech.samplers.denoise import DenoiseStep, Predict, denoise, denoise_midpoint, draw_noise
from cospeech.samplers.foppas import (
    Draw,
    DrawKind,
    Foppas,
    OutpaintedWindows,
    OutpaintState,
    outpainting_windows,
)
from cospeech.samplers.globaldiff import GlobalDiffSampler, count_published_windows
from cospeech.samplers.guidance import guide, guide_batched
from cospeech.samplers.masked_windows import MaskedWindow, plan_masked_windows, seed_masked_window
from cospeech.samplers.seeded_windows import SeededWindows, WindowState, count_windows, inpaint_seed
from cospeech.samplers.smoothing import savgol_coefficients, smooth_savgol

__all__ = [
    "DenoiseStep",
    "Draw",
    "DrawKind",
    "Foppas",
    "GlobalDiffSampler",
    "MaskedWindow",
    "OutpaintState",
    "OutpaintedWindows",
    "Predict",
    "SeededWindows",
    "WindowState",
    "autoregress",
    "count_published_windows",
    "count_windows",
    "denoise",
    "denoise_midpoint",
    "draw_noise",
    "guide",
    "guide_batched",
    "inpaint_seed",
    "is_end_latent",
    "outpainting_windows",
    "plan_masked_windows",
    "savgol_coefficients",
    "seed_masked_window",
    "smooth_savgol",
]
