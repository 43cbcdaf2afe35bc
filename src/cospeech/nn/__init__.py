"""Network building blocks that know nothing of motion."""

from cospeech.nn.attention import KeyValue, MultiHeadAttention
from cospeech.nn.embedding import OneHotEmbedding
from cospeech.nn.normalization import AdaptiveModulation, Modulation, modulate
from cospeech.nn.optimization import optimize
from cospeech.nn.positional import SinusoidalPositionalEncoding, inverse_frequencies, sinusoidal_positions
from cospeech.nn.quantizer import Quantized, VectorQuantizer
from cospeech.nn.temporal import TemporalDecoder, TemporalEncoder, TemporalResidual
from cospeech.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    "AdaptiveModulation",
    "FeedForward",
    "KeyValue",
    "Modulation",
    "MultiHeadAttention",
    "OneHotEmbedding",
    "Quantized",
    "SinusoidalPositionalEncoding",
    "TemporalDecoder",
    "TemporalEncoder",
    "TemporalResidual",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "VectorQuantizer",
    "inverse_frequencies",
    "modulate",
    "optimize",
    "sinusoidal_positions",
]
