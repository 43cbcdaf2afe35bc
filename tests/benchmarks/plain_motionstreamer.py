"""MotionStreamer the plain way: stock layers under their published names, in the published order of work.

What the benchmark measures against and what ``tests/models/test_motionstreamer.py`` holds equal to ours. Written from
the facts of the published program, nothing of cospeech in it: for each latent both texts go through the transformer
with all latents from the start, one after the other, and the head makes time, condition and modulations again at every
step. The text encoder, which one published loop also calls for every latent, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_STEPS = 50


class RMSNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, num_positions: int):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        pairs = float(num_positions**2 - num_positions)
        self.scale = nn.Parameter(torch.tensor(math.log2(pairs), dtype=torch.float64))
        self.num_heads = num_heads
        width = dim // num_heads
        with torch.device("cpu"):  # also where parameters are made without values
            angles = torch.outer(torch.arange(num_positions).float(), 1e4 ** -(torch.arange(0, width, 2) / width))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=-1)]
        query, key = (self.turn(F.normalize(part, dim=-1)) for part in heads[:2])
        seen = F.scaled_dot_product_attention(query, key, heads[2], is_causal=True, scale=self.scale.item())
        return self.c_proj(seen.transpose(1, 2).flatten(2))

    def turn(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * self.turns[: x.shape[-2]]).flatten(-2)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.c_fc1, self.c_fc2 = nn.Linear(dim, hidden_dim, bias=False), nn.Linear(dim, hidden_dim, bias=False)
        self.c_proj = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.silu(self.c_fc1(x)) * self.c_fc2(x))


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, num_positions: int):
        super().__init__()
        self.rms_1, self.attn = RMSNorm(dim), Attention(dim, num_heads, num_positions)
        self.rms_2, self.mlp = RMSNorm(dim), FeedForward(dim, feedforward_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.rms_1(x))
        return x + self.mlp(self.rms_2(x))


class HeadBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.in_ln = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 3 * dim))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, dim=-1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    def __init__(self, dim: int, latent_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(dim, latent_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(y).chunk(2, dim=-1)
        return self.linear(self.norm(x) * (1 + scale) + shift)


class TimeEmbedding(nn.Module):
    def __init__(self, dim: int, time_dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(time_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.half = time_dim // 2

    def forward(self, t: Tensor) -> Tensor:
        rates = torch.exp(-math.log(10000) * torch.arange(self.half, dtype=torch.float32) / self.half)
        angles = t[:, None].float() * rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class Head(nn.Module):
    def __init__(self, latent_dim: int, condition_dim: int, dim: int, num_layers: int, time_dim: int):
        super().__init__()
        self.time_embed, self.cond_embed = TimeEmbedding(dim, time_dim), nn.Linear(condition_dim, dim)
        self.input_proj = nn.Linear(latent_dim, dim)
        self.res_blocks = nn.ModuleList(HeadBlock(dim) for _ in range(num_layers))
        self.final_layer = FinalLayer(dim, latent_dim)

    def forward(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        x, y = self.input_proj(x), self.time_embed(t) + self.cond_embed(z)
        for block in self.res_blocks:
            x = block(x, y)
        return self.final_layer(x, y)


class PlainMotionStreamer(nn.Module):
    """The published model; its state dict has the published keys."""

    def __init__(
        self,
        *,
        text_dim: int = 768,
        latent_dim: int = 16,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        feedforward_dim: int = 2048,
        max_positions: int = 78,
        head_dim: int = 1792,
        head_layers: int = 9,
        time_dim: int = 256,
    ):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Linear(latent_dim, dim),
                "cond_embed": nn.Linear(text_dim, dim),
                "h": nn.ModuleList(Block(dim, num_heads, feedforward_dim, max_positions) for _ in range(num_layers)),
                "ln_f": RMSNorm(dim),
            }
        )
        self.out_proj = nn.Linear(dim, dim)
        self.diff_loss = nn.ModuleDict({"net": Head(latent_dim, dim, head_dim, head_layers, time_dim)})
        with torch.device("cpu"):
            self.tables = cosine_tables(NUM_STEPS)

    def condition(self, text: Tensor, latents: Tensor) -> Tensor:
        """Of the next latent, ``(1, C)``: one text ``(1, C')`` and all latents so far ``(1, n, C'')``."""
        x = torch.cat([self.transformer["cond_embed"](text)[:, None], self.transformer["wte"](latents)], dim=1)
        for block in self.transformer["h"]:
            x = block(x)
        return self.out_proj(self.transformer["ln_f"](x))[:, -1]

    def sample(self, z: Tensor, draw: Callable[[], Tensor], *, scale: float = 4.0) -> Tensor:
        """A latent ``(1, C)`` under the conditions of the text and of the empty text ``(2, C)``."""
        x = torch.cat([draw()] * 2)
        for i in reversed(range(NUM_STEPS)):
            half = x[:1]
            t = torch.full((2,), i)
            given, without = self.diff_loss["net"](torch.cat([half, half]), t, z).chunk(2)
            epsilon = torch.cat([without + scale * (given - without)] * 2)
            to_clean, to_noise, of_clean, of_noisy, log_variance = (
                table[t].float()[:, None].expand_as(x) for table in self.tables
            )
            mean = of_clean * (to_clean * x - to_noise * epsilon) + of_noisy * x
            noise = torch.cat([draw()] * 2)  # the second half's own noise is drawn and never used
            x = mean + (t != 0).float()[:, None] * torch.exp(0.5 * log_variance) * noise
        return x[:1]

    def next_latent(self, texts: Tensor, latents: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """The published order: both texts with all latents from the start, then the head step by step."""
        z = torch.cat([self.condition(text[None], latents) for text in texts])
        return self.sample(z, draw)


def cosine_tables(num_steps: int) -> tuple[Tensor, ...]:
    """Weights of clean and noise, of both in the mean, and logarithms of variances, float64."""
    kept = [math.cos((i / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(num_steps + 1)]
    betas = torch.tensor([min(1 - kept[i + 1] / kept[i], 0.999) for i in range(num_steps)], dtype=torch.float64)
    alphas = 1 - betas
    product = alphas.cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), product[:-1]])
    variance = betas * (1 - before) / (1 - product)
    return (
        (1 / product).sqrt(),
        (1 / product - 1).sqrt(),
        betas * before.sqrt() / (1 - product),
        (1 - before) * alphas.sqrt() / (1 - product),
        torch.cat([variance[1:2], variance[1:]]).log(),
    )
