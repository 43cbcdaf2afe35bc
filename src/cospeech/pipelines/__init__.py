"""Waveform or text in, Motion out; whole clips or streams."""
