"""EMAGE's transformer made ready for inference: the same function to rounding, with fewer products.

Three things need not be done window after window, or at all: what several linear layers in a row do is one linear layer
(the memory of the speech and the keys and values that every layer makes of it); batch norm after a convolution is part
of the convolution; and what the face begins with (its speaker and positions, which look at each other before they look
at anything else) is the same in every window.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from cospeech.models.emage import EmageTransformer
from cospeech.nn import KeyValue, TransformerDecoderLayer, fold_linear, fold_wave_encoders

__all__ = ["fold_emage"]


@torch.no_grad()
def fold_emage(transformer: EmageTransformer) -> EmageTransformer:
    """A copy for inference that needs about a tenth fewer products of matrices.

    The given transformer is left as it is and shares most weights with the copy. What was folded is folded as it is
    now: training the transformer further does not reach it.

    Example:
        >>> from cospeech.models import EmageConfig
        >>> config = EmageConfig(hidden_dim=32, feedforward_dim=32, audio_dim=16, num_audio_layers=1, num_face_layers=1)
        >>> model = EmageTransformer(config).eval()
        >>> folded = fold_emage(model)
        >>> given = (torch.randn(1, 533 * 64), torch.zeros(1, 64, 337), torch.ones(1, 64, 337), torch.tensor([0]))
        >>> torch.allclose(folded(*given).latents.upper, model(*given).latents.upper, atol=1e-4)
        True
    """
    folded = fold_wave_encoders(transformer)
    for name, decoder in (("body_memory", folded.audio_decoder), ("face_memory", folded.face_decoder)):
        for layer in decoder.children():
            attention = cast(TransformerDecoderLayer, layer).cross_attention
            attention.key_value = fold_linear(attention.key_value, getattr(folded, name))
        setattr(folded, name, nn.Identity())
    if folded.config.num_speakers == 1:
        first = cast(TransformerDecoderLayer, folded.face_decoder[0])
        speaker = torch.zeros(1, dtype=torch.long, device=folded.mask_embedding.device)
        folded.face_decoder[0] = _KnownStart(first, folded.face_start(speaker, folded.config.window_frames))
    return folded


class _KnownStart(nn.Module):
    """The first layer of the face, for one speaker: what comes before it sees speech is looked up.

    Args:
        layer: The layer.
        start: Its input in a full window, ``(1, T, C)``. Windows of other lengths take the whole way.
    """

    def __init__(self, layer: TransformerDecoderLayer, start: Tensor):
        super().__init__()
        self.layer = layer
        attended = layer.attend_self(start)
        self.register_buffer("attended", attended, persistent=False)

    def forward(self, x: Tensor, memory: Tensor | KeyValue) -> Tensor:
        """Map ``(B, T, C)`` to ``(B, T, C)``; in a full window ``x`` must be the start."""
        attended = cast(Tensor, self.attended)
        if x.shape[1] != attended.shape[1]:
            return cast(Tensor, self.layer(x, memory))
        return self.layer.attend_memory(attended.expand_as(x), memory)
