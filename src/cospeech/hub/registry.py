"""Names of models that come with the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED", "bundled_folder"]

BUNDLED = ("cospeech-tiny",)
"""Models inside the package, usable without a network."""


def bundled_folder(name: str) -> Path:
    """Where the bundled model ``name`` lies.

    Raises:
        ValueError: If there is no bundled model of that name.

    Example:
        >>> bundled_folder("cospeech-tiny").name
        'cospeech-tiny'
    """
    if name not in BUNDLED:
        raise ValueError(f"Unknown bundled model {name!r}; choose from {', '.join(BUNDLED)}.")
    return Path(__file__).resolve().parents[1] / "assets" / name
