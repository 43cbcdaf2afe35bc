"""Published networks, one per page, configuration on top."""

from cospeech.models.globaldiff import (
    BlockConditioning,
    Conditioning,
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    SeededDiTBlock,
    SpeechModel,
    SpeechModelConfig,
)

__all__ = [
    "BlockConditioning",
    "Conditioning",
    "GlobalDiffConfig",
    "GlobalDiffDenoiser",
    "SeededDiTBlock",
    "SpeechModel",
    "SpeechModelConfig",
]
