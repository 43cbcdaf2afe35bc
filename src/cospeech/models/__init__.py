"""Published networks, one per page, configuration on top."""

from cospeech.models.emage_codec import (
    EMAGE_PART_JOINTS,
    EmageDecoded,
    EmageMotionCodec,
    EmageParts,
    split_emage_motion,
)
from cospeech.models.emage_vqvae import (
    EmageGlobalMotion,
    EmageVQVAE,
    EmageVQVAEConfig,
    TranslatedMotion,
    VQVAEOutput,
)
from cospeech.models.globaldiff import (
    BlockConditioning,
    Conditioning,
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    Modulations,
    SeededDiTBlock,
    SpeechModel,
    SpeechModelConfig,
)

__all__ = [
    "EMAGE_PART_JOINTS",
    "BlockConditioning",
    "Conditioning",
    "EmageDecoded",
    "EmageGlobalMotion",
    "EmageMotionCodec",
    "EmageParts",
    "EmageVQVAE",
    "EmageVQVAEConfig",
    "GlobalDiffConfig",
    "GlobalDiffDenoiser",
    "Modulations",
    "SeededDiTBlock",
    "SpeechModel",
    "SpeechModelConfig",
    "TranslatedMotion",
    "VQVAEOutput",
    "split_emage_motion",
]
