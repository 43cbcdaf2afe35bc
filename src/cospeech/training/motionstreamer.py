"""Training steps of MotionStreamer's autoregressive model: the two-forward loss.

The transformer runs twice. After the first pass some latents are replaced by what the head makes of them, after the
second the loss is taken: the model learns to go on from its own latents. How many are replaced grows over training.

AdamW with betas (0.9, 0.99) and weight decay 1e-6, rates from ``streamer_learning_rate``; a tenth of the captions of a
batch are replaced by the empty text (``drop_texts``).

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025, section 3.4 ("Two-Forward training"); order and numbers are those of the published program.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.models import MotionStreamer
from cospeech.schedulers import NoiseSchedule, cosine_betas

__all__ = [
    "TwoForwardDraws",
    "TwoForwardLoss",
    "draw_two_forward",
    "drop_texts",
    "replaced_fraction",
    "streamer_learning_rate",
    "two_forward_loss",
]

_REPEATS = 4  # noisings of each latent per step


class TwoForwardDraws(NamedTuple):
    """What one step draws.

    Attributes:
        first_timesteps: For each latent in the first pass, ``(B * L)``.
        first_noise: Standard normal, ``(B * L, C)``.
        order: Of positions; the first ones are replaced, ``(L)``.
        timesteps: For each latent that carries loss, four times over, ``(R)``.
        noise: Standard normal, ``(R, C)``.
    """

    first_timesteps: Tensor
    first_noise: Tensor
    order: Tensor
    timesteps: Tensor
    noise: Tensor


class TwoForwardLoss(NamedTuple):
    """The loss, a scalar, and the latents that the second pass read, ``(B, L, C)``."""

    loss: Tensor
    latents: Tensor


def two_forward_loss(
    model: MotionStreamer,
    text: Tensor,
    latents: Tensor,
    lengths: Tensor,
    draws: TwoForwardDraws,
    *,
    fraction: float,
    history: Tensor | None = None,
) -> TwoForwardLoss:
    """The loss of one step.

    Args:
        model: Transformer and head.
        text: Embeddings, ``(B, C')``; for a stream those of the newest text alone.
        latents: Padded, ``(B, L, C)``.
        lengths: How many latents of each row count, ``(B)``.
        draws: From ``draw_two_forward``.
        fraction: Of positions to replace, see ``replaced_fraction``.
        history: How many latents at the start of each row belong to earlier texts, ``(B)``: these are never replaced
            and carry no loss.

    Raises:
        ValueError: If shapes do not fit, or there are other draws than latents that carry loss.
    """
    batch_size, length, _ = latents.shape
    check_shape("lengths", lengths, f"{batch_size}")
    check_shape("draws.order", draws.order, f"{length}")
    schedule = NoiseSchedule(cosine_betas(model.config.num_timesteps))
    position = torch.arange(length, device=latents.device)
    is_new = position >= (torch.zeros_like(lengths) if history is None else history)[:, None]

    with torch.no_grad():  # the published program builds a graph here and never uses it
        conditions = model.transformer(text, latents)[:, :-1].flatten(0, 1)
        noisy = schedule.add_noise(latents.flatten(0, 1), draws.first_noise, draws.first_timesteps)
        predicted = model.head(noisy, draws.first_timesteps, conditions)
        estimates = _estimate_clean(schedule, predicted, noisy, draws.first_timesteps).reshape(latents.shape)
    replaced = torch.zeros(length, dtype=torch.bool, device=latents.device)
    replaced[draws.order[: int(length * fraction)].to(latents.device)] = True
    mixed = torch.where((replaced & is_new)[..., None], estimates.to(latents), latents)

    rows = ((position < lengths[:, None]) & is_new).flatten().repeat(_REPEATS)
    check_shape("draws.timesteps", draws.timesteps, f"{int(rows.sum())}")
    conditions = model.transformer(text, mixed)[:, :-1].flatten(0, 1).repeat(_REPEATS, 1)[rows]
    targets = latents.flatten(0, 1).repeat(_REPEATS, 1)[rows]
    noisy = schedule.add_noise(targets, draws.noise, draws.timesteps)
    predicted = model.head(noisy, draws.timesteps, conditions)
    return TwoForwardLoss((predicted - draws.noise).square().mean(), mixed)


def draw_two_forward(
    model: MotionStreamer,
    latents: Tensor,
    lengths: Tensor,
    generator: torch.Generator,
    *,
    history: Tensor | None = None,
) -> TwoForwardDraws:
    """Draws of one step on latents ``(B, L, C)``, made on the generator's device; arguments as for the loss."""
    batch_size, length, width = latents.shape
    counted = lengths if history is None else lengths - history
    num_rows = _REPEATS * int(counted.clamp_min(0).sum())
    num_all, most = batch_size * length, model.config.num_timesteps
    device = generator.device
    draws = TwoForwardDraws(
        torch.randint(most, (num_all,), generator=generator, device=device),
        torch.randn(num_all, width, generator=generator, device=device),
        torch.randperm(length, generator=generator, device=device),
        torch.randint(most, (num_rows,), generator=generator, device=device),
        torch.randn(num_rows, width, generator=generator, device=device),
    )
    return TwoForwardDraws(*(drawn.to(latents.device) for drawn in draws))


def drop_texts(text: Tensor, empty_text: Tensor, generator: torch.Generator, *, share: float = 0.1) -> Tensor:
    """Embeddings ``(B, C)`` of which exactly ``int(share * B)`` are replaced by that of the empty text ``(C,)``."""
    dropped = torch.randperm(len(text), generator=generator, device=generator.device)[: int(share * len(text))]
    text = text.clone()
    text[dropped.to(text.device)] = empty_text.to(text)
    return text


def replaced_fraction(step: int, total_steps: int) -> float:
    """How large a share of positions is replaced: from 0 at the start of training to 1 at its end.

    Example:
        >>> round(replaced_fraction(60_000, 100_000), 4)
        0.6545
    """
    return 1 - 0.5 * (1 + math.cos(math.pi * step / total_steps))


def streamer_learning_rate(iteration: int, *, total: int = 100_000, base: float = 1e-4) -> float:
    """The rate of one iteration, counted from 0: linear from 0 over a tenth of them, then a half cosine to 0.

    Example:
        >>> [round(streamer_learning_rate(i, total=40, base=1.0), 2) for i in (0, 2, 4, 22, 40)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = total // 10
    if iteration < warmup:
        return base * iteration / warmup
    return base * 0.5 * (1 + math.cos(math.pi * (iteration - warmup) / (total - warmup)))


def _estimate_clean(schedule: NoiseSchedule, predicted: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """The clean latents that predicted noise implies, each row at its own timestep."""
    weights = [schedule.mixture(timestep).weights("noise", "clean") for timestep in schedule.timesteps]
    table = torch.tensor(weights, dtype=torch.float64)[timesteps.cpu()].to(noisy)
    return table[:, :1] * noisy + table[:, 1:] * predicted
