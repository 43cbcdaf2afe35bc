"""Network building blocks that know nothing of motion."""

from cospeech.nn.attention import KeyValue, MultiHeadAttention
from cospeech.nn.causal_attention import CausalCosineAttention, KeyValueCache
from cospeech.nn.content_rhythm import ContentRhythmAttention
from cospeech.nn.conv import CausalConv1d, CausalResidual
from cospeech.nn.ema_codebook import EmaCodebook, kmeans_codes
from cospeech.nn.embedding import OneHotEmbedding
from cospeech.nn.folding import (
    ChannelsLastConv1d,
    ProductConv1d,
    fold_batch_norm,
    fold_linear,
    fold_wave_encoders,
)
from cospeech.nn.linear_attention import LinearAttention
from cospeech.nn.normalization import AdaptiveModulation, Modulation, modulate
from cospeech.nn.optimization import optimize
from cospeech.nn.periodic import PeriodicPositionalEncoding
from cospeech.nn.positional import SinusoidalPositionalEncoding, inverse_frequencies, sinusoidal_positions
from cospeech.nn.quantizer import Quantized, VectorQuantizer, nearest_codes
from cospeech.nn.recurrent import SummedBidirectionalLSTM
from cospeech.nn.rotary import rotary_phases, rotate_pairs
from cospeech.nn.stacked import StackedLinear, stack_modules
from cospeech.nn.streaming import StreamingLayer, StreamingSequence, run_chunks
from cospeech.nn.stylization import Film, Stylization
from cospeech.nn.temporal import TemporalDecoder, TemporalEncoder, TemporalResidual
from cospeech.nn.timestep import timestep_embedding
from cospeech.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer
from cospeech.nn.wave_encoder import WaveBlock, WaveEncoder

__all__ = [
    "AdaptiveModulation",
    "CausalConv1d",
    "CausalCosineAttention",
    "CausalResidual",
    "ChannelsLastConv1d",
    "ContentRhythmAttention",
    "EmaCodebook",
    "FeedForward",
    "Film",
    "KeyValue",
    "KeyValueCache",
    "LinearAttention",
    "Modulation",
    "MultiHeadAttention",
    "OneHotEmbedding",
    "PeriodicPositionalEncoding",
    "ProductConv1d",
    "Quantized",
    "SinusoidalPositionalEncoding",
    "StackedLinear",
    "StreamingLayer",
    "StreamingSequence",
    "Stylization",
    "SummedBidirectionalLSTM",
    "TemporalDecoder",
    "TemporalEncoder",
    "TemporalResidual",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "VectorQuantizer",
    "WaveBlock",
    "WaveEncoder",
    "fold_batch_norm",
    "fold_linear",
    "fold_wave_encoders",
    "inverse_frequencies",
    "kmeans_codes",
    "modulate",
    "nearest_codes",
    "optimize",
    "rotary_phases",
    "rotate_pairs",
    "run_chunks",
    "sinusoidal_positions",
    "stack_modules",
    "timestep_embedding",
]
