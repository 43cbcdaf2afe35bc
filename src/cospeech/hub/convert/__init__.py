"""One key table per published system: published names to ours."""

from cospeech.hub.convert._table import Constant, Key, KeyTable

__all__ = ["Constant", "Key", "KeyTable"]
