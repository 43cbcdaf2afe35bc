"""Rotations: conversions, interpolation and distances on tensors with any leading axes."""
