"""Published networks, one per page, configuration on top."""

from cospeech.models.camn import CamnConfig, CamnModel
from cospeech.models.causal_tae import CausalDecoder, CausalEncoder, CausalTAE, CausalTAEConfig
from cospeech.models.diffsheg import (
    DiffSHEGConditioning,
    DiffSHEGConfig,
    DiffSHEGDenoiser,
    DiffSHEGModulations,
)
from cospeech.models.disco import DiscoConfig, DiscoModel, DiscoOutput
from cospeech.models.emage import EmageConfig, EmageHeard, EmageOutput, EmageTransformer
from cospeech.models.emage_codec import (
    EMAGE_PART_JOINTS,
    EmageDecoded,
    EmageMotionCodec,
    EmageParts,
    split_emage_motion,
)
from cospeech.models.emage_generation import EmageGenerator, EmageWindow, blank_emage_hints, emage_num_frames
from cospeech.models.emage_streaming import EmageStreamDecoder, EmageStreamState, StreamedMotion
from cospeech.models.emage_vqvae import (
    EmageGlobalMotion,
    EmageVQVAE,
    EmageVQVAEConfig,
    TranslatedMotion,
    VQVAEOutput,
)
from cospeech.models.evaluators import SkeletonAutoencoder, SkeletonAutoencoderConfig
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
from cospeech.models.globaldiff_stacked import StackedDenoiser, optimize_denoiser
from cospeech.models.masked_vae import MaskedVAE, MaskedVAEConfig, MotionLatents, ReconstructedMotion, sample_latents

__all__ = [
    "EMAGE_PART_JOINTS",
    "BlockConditioning",
    "CamnConfig",
    "CamnModel",
    "CausalDecoder",
    "CausalEncoder",
    "CausalTAE",
    "CausalTAEConfig",
    "Conditioning",
    "DiffSHEGConditioning",
    "DiffSHEGConfig",
    "DiffSHEGDenoiser",
    "DiffSHEGModulations",
    "DiscoConfig",
    "DiscoModel",
    "DiscoOutput",
    "EmageConfig",
    "EmageDecoded",
    "EmageGenerator",
    "EmageGlobalMotion",
    "EmageHeard",
    "EmageMotionCodec",
    "EmageOutput",
    "EmageParts",
    "EmageStreamDecoder",
    "EmageStreamState",
    "EmageTransformer",
    "EmageVQVAE",
    "EmageVQVAEConfig",
    "EmageWindow",
    "GlobalDiffConfig",
    "GlobalDiffDenoiser",
    "MaskedVAE",
    "MaskedVAEConfig",
    "Modulations",
    "MotionLatents",
    "ReconstructedMotion",
    "SeededDiTBlock",
    "SkeletonAutoencoder",
    "SkeletonAutoencoderConfig",
    "SpeechModel",
    "SpeechModelConfig",
    "StackedDenoiser",
    "StreamedMotion",
    "TranslatedMotion",
    "VQVAEOutput",
    "blank_emage_hints",
    "emage_num_frames",
    "optimize_denoiser",
    "sample_latents",
    "split_emage_motion",
]
