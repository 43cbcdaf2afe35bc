"""Classifier-free guidance: away from what the network says without a condition."""

from __future__ import annotations

import torch
from torch import Tensor

from cospeech.samplers.denoise import Predict

__all__ = ["guide", "guide_batched"]


def guide(conditional: Predict, unconditional: Predict, scale: float) -> Predict:
    """The guided network, ``unconditional + scale * (conditional - unconditional)``.

    Args:
        conditional: The network with its condition.
        unconditional: The network with the condition it was trained to take for none.
        scale: 1 is the conditional network (and the other is never called), 0 the unconditional one, above 1
            exaggerates the difference.

    Reference:
        Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, equation 6 with ``scale = 1 + w``.

    Example:
        >>> guided = guide(lambda x, t: x + 1, lambda x, t: x, scale=3.0)
        >>> guided(torch.zeros(1), 0)
        tensor([3.])
    """
    if scale == 1:
        return conditional

    def guided(noisy: Tensor, timestep: float) -> Tensor:
        return torch.lerp(unconditional(noisy, timestep), conditional(noisy, timestep), scale)

    return guided


def guide_batched(predict: Predict, scale: float) -> Predict:
    """Like ``guide``, both in one call of a network that is bound to a doubled batch.

    Args:
        predict: Takes ``(2 B, ...)``, of which the first half is to be predicted with the condition and the second,
            which repeats the first, without.
        scale: See ``guide``. At 1 the second half is thrown away; better bind the condition alone.

    Returns:
        A callable on ``(B, ...)``.

    Example:
        >>> shift = torch.tensor([[1.0], [0.0]])  # condition of the first row, none in the second
        >>> guide_batched(lambda x, t: x + shift, scale=3.0)(torch.zeros(1, 1), 0)
        tensor([[3.]])
    """

    def guided(noisy: Tensor, timestep: float) -> Tensor:
        conditional, unconditional = predict(torch.cat([noisy, noisy]), timestep).chunk(2)
        return torch.lerp(unconditional, conditional, scale)

    return guided
