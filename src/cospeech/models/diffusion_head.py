"""MotionStreamer's diffusion head: a residual perceptron that denoises one latent under a condition.

A latent is denoised fifty times under one condition. More than half of the weights only turn time and condition into
modulations, and times are known beforehand. So the work is cut in two: ``prepare`` makes the modulations of all steps,
one product per layer and latent, ``denoise`` runs the rest, step by step.

Reference:
    Li et al., "Autoregressive Image Generation without Vector Quantization", NeurIPS 2024, section 3.2; Xiao et al.,
    "MotionStreamer", ICCV 2025; the structure is that of the published program.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.nn import FeedForward, timestep_embedding

__all__ = ["DiffusionHead", "HeadConditioning"]

_EPSILON = 1e-6


class HeadConditioning(NamedTuple):
    """Modulations of each block at each step.

    Attributes:
        blocks: For each step, for each block, ``1 + scale``, shift and gate, ``(N, C)`` each.
        final: For each step ``1 + scale`` and shift of the last layer.
    """

    blocks: tuple[tuple[tuple[Tensor, Tensor, Tensor], ...], ...]
    final: tuple[tuple[Tensor, Tensor], ...]


class DiffusionHead(nn.Module):
    """Noise in a noisy latent, told a timestep and a condition.

    Args:
        latent_dim: Width of a latent.
        condition_dim: Width of a condition.
        dim: Width between.
        num_layers: Residual blocks.
        time_dim: Frequencies of the timestep's embedding.

    Example:
        >>> head = DiffusionHead(4, 8, dim=16, num_layers=2).eval()
        >>> noisy, condition, steps = torch.randn(3, 4), torch.randn(3, 8), torch.tensor([9, 5, 0])
        >>> conditioning = head.prepare(condition, head.embed_times(steps))
        >>> noise = head(noisy, steps[1].expand(3), condition)
        >>> torch.allclose(head.denoise(noisy, conditioning, 1), noise, atol=1e-6)
        True
    """

    def __init__(self, latent_dim: int, condition_dim: int, *, dim: int, num_layers: int, time_dim: int = 256):
        super().__init__()
        self.time_dim = time_dim
        self.time_embedding = FeedForward(time_dim, dim, out_dim=dim, activation=F.silu)
        self.condition_in = nn.Linear(condition_dim, dim)
        self.latent_in = nn.Linear(latent_dim, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=_EPSILON) for _ in range(num_layers))
        self.feedforwards = nn.ModuleList(FeedForward(dim, dim, activation=F.silu) for _ in range(num_layers))
        self.modulations = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(num_layers))  # shift, scale, gate
        self.final_norm = nn.LayerNorm(dim, eps=_EPSILON, elementwise_affine=False)
        self.final_modulation = nn.Linear(dim, 2 * dim)  # shift, scale
        self.latent_out = nn.Linear(dim, latent_dim)
        self._init()

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Predicted noise ``(N, C)``, each row at its own timestep, as in training.

        Args:
            noisy: ``(N, C)``.
            timesteps: ``(N,)``.
            condition: ``(N, C')``.
        """
        conditioning = self._condition(F.silu(self.embed_times(timesteps) + self.condition_in(condition))[None])
        return self.denoise(noisy, conditioning, 0)

    def embed_times(self, timesteps: Tensor) -> Tensor:
        """What the timesteps ``(S,)`` say to the blocks, ``(S, C)``; the same for all latents."""
        vectors: Tensor = self.time_embedding(timestep_embedding(timesteps, self.time_dim).to(self.dtype))
        return vectors

    def prepare(self, condition: Tensor, times: Tensor) -> HeadConditioning:
        """Modulations of all steps under one condition for each row.

        Args:
            condition: ``(N, C')``.
            times: From ``embed_times``, ``(S, C)``.
        """
        return self._condition(F.silu(times[:, None] + self.condition_in(condition)))

    def denoise(self, noisy: Tensor, conditioning: HeadConditioning, step_index: int) -> Tensor:
        """Predicted noise ``(N, C)`` of noisy latents ``(N, C)`` at one of the prepared steps."""
        x = self.latent_in(noisy.to(self.dtype))
        blocks = zip(self.norms, self.feedforwards, conditioning.blocks[step_index], strict=True)
        for norm, feedforward, (scale, shift, gate) in blocks:
            x = torch.addcmul(x, gate, feedforward(torch.addcmul(shift, norm(x), scale)))
        scale, shift = conditioning.final[step_index]
        noise: Tensor = self.latent_out(torch.addcmul(shift, self.final_norm(x), scale))
        return noise

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the head works in."""
        return next(self.norms.parameters()).dtype

    def _condition(self, condition: Tensor) -> HeadConditioning:
        """Modulations for activated conditions ``(S, N, C)``."""
        blocks = []
        for modulation in self.modulations:
            shift, scale, gate = modulation(condition).chunk(3, dim=-1)
            blocks.append(tuple(zip((1 + scale).unbind(), shift.unbind(), gate.unbind(), strict=True)))
        shift, scale = self.final_modulation(condition).chunk(2, dim=-1)
        final = tuple(zip((1 + scale).unbind(), shift.unbind(), strict=True))
        return HeadConditioning(tuple(zip(*blocks, strict=True)), final)

    def _init(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for linear in (self.time_embedding.expand, self.time_embedding.contract):
            nn.init.normal_(linear.weight, std=0.02)
        # Branches and output start silent.
        for linear in (*self.modulations, self.final_modulation, self.latent_out):
            nn.init.zeros_(linear.weight)
