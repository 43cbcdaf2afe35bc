"""cospeech: building blocks and pipelines for co-speech motion."""

__version__ = "0.1.0.dev0"
