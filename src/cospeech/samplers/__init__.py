"""Sampling loops over any denoiser callable."""
