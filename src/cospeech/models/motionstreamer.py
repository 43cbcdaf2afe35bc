"""MotionStreamer's autoregressive model: text and latents so far to the next latent.

A transformer reads the text, then the latents; its output before latent ``k`` is the condition under which the
diffusion head draws latent ``k``. Keys and values are kept, so a latent costs the same at every position. Position 0 is
the text: where it changes, all that follows changes too, and the latents are read again, once.

Reference:
    Xiao et al., "MotionStreamer: Streaming Motion Generation via Diffusion-based Autoregressive Model in Causal Latent
    Space", ICCV 2025; the structure is that of the published program, whose own cache is wrong and unused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.diffusion_head import DiffusionHead
from cospeech.nn import CausalCosineAttention, KeyValueCache, rotary_phases

__all__ = ["LatentTransformer", "MotionStreamer", "MotionStreamerConfig"]


@dataclass(frozen=True, kw_only=True)
class MotionStreamerConfig:
    """Sizes of transformer and diffusion head; the defaults are the published ones.

    ``max_positions`` counts the text and the latents read; one latent more can be drawn.
    """

    text_dim: int = 768
    latent_dim: int = 16
    dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    feedforward_dim: int = 2048
    max_positions: int = 78
    head_dim: int = 1792
    head_layers: int = 9
    time_dim: int = 256
    num_timesteps: int = 50

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 256 if field.name.endswith("layers") else 1 << 16
            if not 1 <= value <= most:
                raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")
        if self.max_positions < 3:
            raise ValueError(f"`max_positions` must hold a text and two latents at least; got {self.max_positions}.")


class LatentTransformer(nn.Module):
    """Pre-norm blocks of causal attention and gated feed-forward (SwiGLU), root mean square norms, no dropout."""

    def __init__(self, config: MotionStreamerConfig):
        super().__init__()
        self.config = config
        self.text_in = nn.Linear(config.text_dim, config.dim)
        self.latent_in = nn.Linear(config.latent_dim, config.dim)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(self, text: Tensor, latents: Tensor) -> Tensor:
        """Conditions of all latents and of the next one, ``(B, n + 1, C)``, with gradient.

        Args:
            text: Sentence embeddings, ``(B, C')``.
            latents: ``(B, n, C'')``; none may be there.

        Raises:
            ValueError: If a shape does not fit, or there are more latents than positions.
        """
        x = self._embed(text, latents)
        phases = self._phases(x.shape[1], first=0, like=x)
        for block in self.blocks:
            x = block(x, phases)
        return self._finish(x)

    def begin(self, text: Tensor, latents: Tensor) -> tuple[Tensor, tuple[KeyValueCache, ...]]:
        """The condition of the next latent, ``(B, C)``, and the caches from which ``step`` goes on."""
        x = self._embed(text, latents)
        caches = self.init_state(x.shape[0])
        y, caches = self._run(x, caches)
        return y[:, -1], caches

    def init_state(self, batch_size: int) -> tuple[KeyValueCache, ...]:
        """Empty caches."""
        attentions = (cast(_Block, block).attention for block in self.blocks)
        return tuple(attention.init_state(batch_size, self.config.max_positions) for attention in attentions)

    def step(self, latent: Tensor, caches: tuple[KeyValueCache, ...]) -> tuple[Tensor, tuple[KeyValueCache, ...]]:
        """The condition of the latent after this one, ``(B, C)``; caches passed in are spent.

        Args:
            latent: ``(B, C'')``.
            caches: From ``begin`` or the step before.

        Raises:
            ValueError: If all positions are taken.
        """
        y, caches = self._run(self.latent_in(latent)[:, None], caches)
        return y[:, -1], caches

    def _embed(self, text: Tensor, latents: Tensor) -> Tensor:
        check_shape("text", text, f"B {self.config.text_dim}")
        check_shape("latents", latents, f"{len(text)} L {self.config.latent_dim}")
        if latents.shape[1] >= self.config.max_positions:
            raise ValueError(f"`latents` must hold {self.config.max_positions - 1} at most; got {latents.shape[1]}.")
        return torch.cat([self.text_in(text)[:, None], self.latent_in(latents)], dim=1)

    def _run(self, x: Tensor, caches: tuple[KeyValueCache, ...]) -> tuple[Tensor, tuple[KeyValueCache, ...]]:
        phases, kept = self._phases(x.shape[1], first=caches[0].length, like=x), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, follows = cast(_Block, block).step(x, cache, phases)
            kept.append(follows)
        return self._finish(x[:, -1:]), tuple(kept)

    def _phases(self, num_positions: int, *, first: int, like: Tensor) -> Tensor:
        head_dim = self.config.dim // self.config.num_heads
        return rotary_phases(num_positions, head_dim, first=first, device=like.device)

    def _finish(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.norm(x))
        return y


class MotionStreamer(nn.Module):
    """Transformer and diffusion head; ``MotionStreamerGenerator`` draws latents with it.

    Example:
        >>> config = MotionStreamerConfig(
        ...     dim=16, num_layers=2, num_heads=2, feedforward_dim=32, head_dim=16, head_layers=1
        ... )
        >>> model = MotionStreamer(config).eval()
        >>> text, latents = torch.randn(2, 768), torch.randn(2, 5, 16)
        >>> whole = model.transformer(text, latents)
        >>> whole.shape
        torch.Size([2, 6, 16])
        >>> with torch.no_grad():
        ...     condition, caches = model.transformer.begin(text, latents[:, :4])
        ...     condition, caches = model.transformer.step(latents[:, 4], caches)
        >>> torch.allclose(condition, whole[:, 5], atol=1e-5)
        True
    """

    def __init__(self, config: MotionStreamerConfig):
        super().__init__()
        self.config = config
        self.transformer = LatentTransformer(config)
        self.head = DiffusionHead(
            config.latent_dim,
            config.dim,
            dim=config.head_dim,
            num_layers=config.head_layers,
            time_dim=config.time_dim,
        )


class _Block(nn.Module):
    def __init__(self, config: MotionStreamerConfig):
        super().__init__()
        # The logarithm of how many pairs there are in the longest sequence, in place of 1 / sqrt(width of a head).
        scale = math.log2(config.max_positions**2 - config.max_positions)
        self.attention = CausalCosineAttention(config.dim, config.num_heads, scale=scale)
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-5)
        self.feedforward = _GatedFeedForward(config.dim, config.feedforward_dim)
        self.feedforward_norm = nn.RMSNorm(config.dim, eps=1e-5)

    def forward(self, x: Tensor, phases: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), phases)
        y: Tensor = x + self.feedforward(self.feedforward_norm(x))
        return y

    def step(self, x: Tensor, cache: KeyValueCache, phases: Tensor) -> tuple[Tensor, KeyValueCache]:
        seen, cache = self.attention.step(self.attention_norm(x), cache, phases)
        x = x + seen
        return x + self.feedforward(self.feedforward_norm(x)), cache


class _GatedFeedForward(nn.Module):
    """``contract(silu(gate(x)) * expand(x))``, no biases."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.gate = nn.Linear(dim, hidden_dim, bias=False)
        self.expand = nn.Linear(dim, hidden_dim, bias=False)
        self.contract = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.contract(F.silu(self.gate(x)) * self.expand(x))
        return y
