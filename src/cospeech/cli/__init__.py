"""The command line: ``cospeech generate``, ``cospeech info``."""
