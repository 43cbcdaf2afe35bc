"""Data sets and the procedural corpus."""
