"""Network building blocks that know nothing of motion."""

from cospeech.nn.attention import KeyValue, MultiHeadAttention
from cospeech.nn.content_rhythm import ContentRhythmAttention
from cospeech.nn.embedding import OneHotEmbedding
from cospeech.nn.normalization import AdaptiveModulation, Modulation, modulate
from cospeech.nn.optimization import optimize
from cospeech.nn.periodic import PeriodicPositionalEncoding
from cospeech.nn.positional import SinusoidalPositionalEncoding, inverse_frequencies, sinusoidal_positions
from cospeech.nn.quantizer import Quantized, VectorQuantizer
from cospeech.nn.recurrent import SummedBidirectionalLSTM
from cospeech.nn.temporal import TemporalDecoder, TemporalEncoder, TemporalResidual
from cospeech.nn.stacked import StackedLinear, stack_modules
from cospeech.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer
from cospeech.nn.wave_encoder import WaveBlock, WaveEncoder

__all__ = [
    "AdaptiveModulation",
    "ContentRhythmAttention",
    "FeedForward",
    "KeyValue",
    "Modulation",
    "MultiHeadAttention",
    "OneHotEmbedding",
    "PeriodicPositionalEncoding",
    "Quantized",
    "SinusoidalPositionalEncoding",
    "StackedLinear",
    "SummedBidirectionalLSTM",
    "TemporalDecoder",
    "TemporalEncoder",
    "TemporalResidual",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "VectorQuantizer",
    "WaveBlock",
    "WaveEncoder",
    "inverse_frequencies",
    "modulate",
    "optimize",
    "sinusoidal_positions",
    "stack_modules",
]
