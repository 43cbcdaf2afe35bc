"""cospeech: building blocks and pipelines for co-speech motion, speech or text in, holistic 3D human motion out."""

from cospeech.motion import Motion
from cospeech.pipelines import load_pipeline

__all__ = ["Motion", "load_pipeline"]
__version__ = "0.1.0.dev0"
