"""Network building blocks that know nothing of motion."""

from cospeech.nn.attention import KeyValue, MultiHeadAttention
from cospeech.nn.embedding import OneHotEmbedding
from cospeech.nn.normalization import AdaptiveModulation, Modulation, modulate
from cospeech.nn.optimization import optimize
from cospeech.nn.positional import SinusoidalPositionalEncoding, inverse_frequencies, sinusoidal_positions
from cospeech.nn.transformer import FeedForward, TransformerDecoderLayer, TransformerEncoderLayer

__all__ = [
    "AdaptiveModulation",
    "FeedForward",
    "KeyValue",
    "Modulation",
    "MultiHeadAttention",
    "OneHotEmbedding",
    "SinusoidalPositionalEncoding",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "inverse_frequencies",
    "modulate",
    "optimize",
    "sinusoidal_positions",
]
