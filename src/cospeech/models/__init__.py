"""Published networks, one per page, configuration on top."""

from cospeech.models.camn import CamnConfig, CamnModel
from cospeech.models.causal_tae import CausalDecoder, CausalEncoder, CausalTAE, CausalTAEConfig
from cospeech.models.diffsheg import DiffSHEGConditioning, DiffSHEGDenoiser, DiffSHEGModulations
from cospeech.models.diffsheg_buffered import BufferedDiffSHEG, optimize_diffsheg
from cospeech.models.diffsheg_config import DiffSHEGConfig
from cospeech.models.diffusion_head import DiffusionHead, HeadConditioning
from cospeech.models.disco import DiscoConfig, DiscoModel, DiscoOutput
from cospeech.models.distilbert import DistilBert, DistilBertConfig
from cospeech.models.emage import EmageHeard, EmageOutput, EmageTransformer
from cospeech.models.emage_codec import (
    EMAGE_PART_JOINTS,
    EmageDecoded,
    EmageMotionCodec,
    EmageParts,
    split_emage_motion,
)
from cospeech.models.emage_config import EmageConfig
from cospeech.models.emage_folding import fold_emage
from cospeech.models.emage_generation import EmageGenerator, EmageWindow, blank_emage_hints, emage_num_frames
from cospeech.models.emage_speech import rhythm_signals
from cospeech.models.emage_streaming import EmageStreamDecoder, EmageStreamState, StreamedMotion
from cospeech.models.emage_vqvae import (
    EmageGlobalMotion,
    EmageVQVAE,
    EmageVQVAEConfig,
    TranslatedMotion,
    VQVAEOutput,
)
from cospeech.models.evaluators import SkeletonAutoencoder, SkeletonAutoencoderConfig
from cospeech.models.gesture_embedding import GestureAutoencoder, GestureAutoencoderConfig, GestureEmbedding
from cospeech.models.globaldiff import GlobalDiffConfig, GlobalDiffDenoiser
from cospeech.models.globaldiff_block import BlockConditioning, Conditioning, Modulations, SeededDiTBlock
from cospeech.models.globaldiff_speech import SpeechModel, SpeechModelConfig
from cospeech.models.globaldiff_stacked import StackedDenoiser, optimize_denoiser
from cospeech.models.masked_vae import MaskedVAE, MaskedVAEConfig, MotionLatents, ReconstructedMotion, sample_latents
from cospeech.models.motionstreamer import LatentTransformer, MotionStreamer, MotionStreamerConfig
from cospeech.models.motionstreamer_generation import (
    GeneratorState,
    MotionStreamerGenerator,
    motionstreamer_steps,
    optimize_motionstreamer,
)
from cospeech.models.text_motion_evaluator import (
    EvaluatorConfig,
    MotionEvaluator,
    NormalDistribution,
    TextEvaluator,
    TextEvaluatorConfig,
)
from cospeech.models.tmr import EvaluatorDecoder, TextMotionConfig, TextMotionNetworks

__all__ = [
    "EMAGE_PART_JOINTS",
    "BlockConditioning",
    "BufferedDiffSHEG",
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
    "DiffusionHead",
    "DiscoConfig",
    "DiscoModel",
    "DiscoOutput",
    "DistilBert",
    "DistilBertConfig",
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
    "EvaluatorConfig",
    "EvaluatorDecoder",
    "GeneratorState",
    "GestureAutoencoder",
    "GestureAutoencoderConfig",
    "GestureEmbedding",
    "GlobalDiffConfig",
    "GlobalDiffDenoiser",
    "HeadConditioning",
    "LatentTransformer",
    "MaskedVAE",
    "MaskedVAEConfig",
    "Modulations",
    "MotionEvaluator",
    "MotionLatents",
    "MotionStreamer",
    "MotionStreamerConfig",
    "MotionStreamerGenerator",
    "NormalDistribution",
    "ReconstructedMotion",
    "SeededDiTBlock",
    "SkeletonAutoencoder",
    "SkeletonAutoencoderConfig",
    "SpeechModel",
    "SpeechModelConfig",
    "StackedDenoiser",
    "StreamedMotion",
    "TextEvaluator",
    "TextEvaluatorConfig",
    "TextMotionConfig",
    "TextMotionNetworks",
    "TranslatedMotion",
    "VQVAEOutput",
    "blank_emage_hints",
    "emage_num_frames",
    "fold_emage",
    "motionstreamer_steps",
    "optimize_denoiser",
    "optimize_diffsheg",
    "optimize_motionstreamer",
    "rhythm_signals",
    "sample_latents",
    "split_emage_motion",
]
