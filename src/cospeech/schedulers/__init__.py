"""Noise schedules and solver steps as tables and pure functions."""
