"""The command line: ``cospeech generate``, ``cospeech info``."""

from cospeech.cli.main import main

__all__ = ["main"]
