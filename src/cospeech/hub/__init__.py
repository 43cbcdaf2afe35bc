"""Checkpoints: strict loading and saving, names to locations, downloads."""
