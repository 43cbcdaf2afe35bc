"""cospeech: building blocks and pipelines for co-speech motion, speech or text in, holistic 3D human motion out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cospeech.motion import Motion

if TYPE_CHECKING:
    from cospeech.pipelines import load_pipeline

__all__ = ["Motion", "load_pipeline"]
__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> Any:
    # Pipelines bring every network with them: whoever takes a block or a Motion need not wait for these.
    if name == "load_pipeline":
        from cospeech.pipelines import load_pipeline

        return load_pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
