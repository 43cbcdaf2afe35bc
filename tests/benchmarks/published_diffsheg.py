"""DiffSHEG in the published order of work, from stock layers under the published names: the slow twin.

Written from the facts that parity follows, not from the program. Everything is done at every evaluation, as published:
three time perceptrons and two of the speaker, the linear layer of every style, both encoders of speech features, the
audio encoder, the whole fusion for both halves of a guided batch, a normalisation before each of query, key and value,
masks of ones filled row by row, coefficients fetched from NumPy tables, noise drawn and multiplied by nothing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


def mask_of(lengths: list[int], num_frames: int) -> Tensor:
    """Ones where a clip has frames, ``(B, T, 1)``."""
    mask = torch.zeros(len(lengths), num_frames)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return mask[..., None]


def coefficient(table: np.ndarray, level: Tensor, like: Tensor) -> Tensor:
    """One number for each clip, spread over its frames and channels."""
    return torch.from_numpy(table)[level].float()[:, None, None].expand(like.shape)


def embed(timestep: Tensor, dim: int) -> Tensor:
    """Cosines, then sines."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(dim // 2, dtype=torch.float32) / (dim // 2))
    angles = timestep[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Style(nn.Module):
    def __init__(self, dim: int, condition_dim: int):
        super().__init__()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(condition_dim, 2 * dim))
        self.norm = nn.LayerNorm(dim)
        self.out_layers = nn.Sequential(nn.SiLU(), nn.Dropout(0.0), nn.Linear(dim, dim))

    def forward(self, y: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.emb_layers(emb)[:, None].chunk(2, dim=-1)
        return self.out_layers(self.norm(y) * (1 + scale) + shift)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int, condition_dim: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.proj_out = Style(dim, condition_dim)

    def forward(self, x: Tensor, emb: Tensor, mask: Tensor) -> Tensor:
        heads = (*x.shape[:2], self.num_heads, -1)
        query = self.query(self.norm(x)).view(heads).softmax(-1)
        key = (self.key(self.norm(x)) + (1 - mask) * -1e6).view(heads).softmax(1)
        value = (self.value(self.norm(x)) * mask).view(heads)
        summary = torch.einsum("bnhd,bnhl->bhdl", key, value)
        y = torch.einsum("bnhd,bhdl->bnhl", query, summary).reshape(x.shape)
        return x + self.proj_out(y, emb)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int, condition_dim: int):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)
        self.proj_out = Style(dim, condition_dim)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return x + self.proj_out(self.linear2(nn.functional.gelu(self.linear1(x))), emb)


class Layer(nn.Module):
    def __init__(self, config, dim: int, fused_dim: int = 0):
        super().__init__()
        if fused_dim:
            self.feat_proj = nn.Sequential(
                nn.LayerNorm(fused_dim),
                nn.Linear(fused_dim, config.fusion_dim),
                nn.SiLU(),
                nn.Linear(config.fusion_dim, dim),
            )
        self.sa_block = Attention(dim, config.num_heads, config.condition_dim)
        self.ffn = FeedForward(dim, config.feedforward_dim, config.condition_dim)

    def forward(self, x: Tensor, emb: Tensor, mask: Tensor, told: list[Tensor], null: Tensor | None) -> Tensor:
        fused = x
        if told:
            fused = torch.cat([x, *told], dim=-1)
            if null is not None:
                half = len(x) // 2
                fused = torch.cat([null.expand(half, *fused.shape[1:]), fused[half:]])
            fused = self.feat_proj(fused)
        return self.ffn(self.sa_block(fused + x, emb, mask), emb)


class Positions(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("pe", torch.empty(1, 1200, dim))


def perceptron(in_dim: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, dim), nn.SiLU(), nn.Linear(dim, dim))


class Denoiser(nn.Module):
    def __init__(self, config, motion_dim: int, estimate_dim: int):
        super().__init__()
        self.config, dim = config, config.hidden_dim
        fused_dim = dim + config.audio_dim + config.speech_dim + estimate_dim
        self.joint_embed = nn.Linear(motion_dim, dim)
        self.audio_proj = nn.Linear(2 * config.mel_dim, config.audio_dim)
        self.hubert_encoder = nn.Sequential(
            nn.Conv1d(config.speech_feature_dim, config.speech_dim, 3, padding=1, bias=False),
            nn.BatchNorm1d(config.speech_dim),
            nn.GELU(),
            nn.Conv1d(config.speech_dim, config.speech_dim, 3, padding=1, bias=False),
        )
        self.time_embed = perceptron(dim, config.condition_dim)
        self.pid_embed = perceptron(config.num_speakers, config.condition_dim)
        self.PE = Positions(dim)
        self.temporal_decoder_blocks = nn.ModuleList(Layer(config, dim, fused_dim) for _ in range(config.num_layers))
        self.out = nn.Linear(dim, motion_dim)
        if config.unconditional:
            self.null_cond_emb = nn.Parameter(torch.empty(1, fused_dim))

    def forward(self, x, timestep, audio, speech, person, estimate=None, *, scale=1.0):
        told = [audio, speech] + ([] if estimate is None else [estimate])
        if scale != 1:
            x, timestep, person, *told = (torch.cat([tensor, tensor]) for tensor in (x, timestep, person, *told))
        mask = mask_of([x.shape[1]] * len(x), x.shape[1])
        h = self.joint_embed(x) + self.PE.pe[:, : x.shape[1]]
        emb = self.time_embed(embed(timestep, self.config.hidden_dim)) + self.pid_embed(person)
        told[0], told[1] = self.audio_proj(told[0]), self.hubert_encoder(told[1].transpose(1, 2)).transpose(1, 2)
        for layer in self.temporal_decoder_blocks:
            h = layer(h, emb, mask, told, self.null_cond_emb if scale != 1 else None)
        noise = self.out(h)
        if scale == 1:
            return noise
        without, conditional = noise.chunk(2)
        return without + scale * (conditional - without)


class PublishedDiffSHEG(nn.Module):
    """The network, and one step of its sampler on a window that continues another.

    Args:
        config: ``DiffSHEGConfig``.
        schedule: The respaced process.
        scale: Of the guidance.
    """

    def __init__(self, config, schedule, scale: float):
        super().__init__()
        self.config, self.scale = config, scale
        self.levels = torch.tensor(schedule.timesteps, device="cpu")
        left, before = np.array(schedule.alphas_cumprod), np.array(schedule.previous_alphas_cumprod)
        self.tables = {
            "of_noisy": np.sqrt(1 / left),
            "of_noise": np.sqrt(1 / left - 1),
            "left": left,
            "left_before": before,
        }
        self.time_embed = perceptron(config.hidden_dim, config.condition_dim)
        self.encoder_aud = Layer(config, config.mel_dim)
        self.encoder_exp = Denoiser(config, config.expression_dim, 0)
        self.encoder_ges = Denoiser(config, config.gesture_dim, config.expression_dim)

    def forward(self, x: Tensor, level: Tensor, mel: Tensor, speech: Tensor, person: Tensor) -> Tensor:
        """The noise in a window; ``level`` counts the respaced process."""
        timestep = self.levels[level]
        mask = mask_of([x.shape[1]] * len(x), x.shape[1])
        emb = self.time_embed(embed(timestep, self.config.hidden_dim))
        audio = torch.cat([mel, self.encoder_aud(mel, emb, mask, [], None)], dim=-1)
        gesture, expression = x.split([self.config.gesture_dim, self.config.expression_dim], dim=-1)
        noise = self.encoder_exp(expression, timestep, audio, speech, person, scale=self.scale)
        clean = self.fetch("of_noisy", level, noise) * expression - self.fetch("of_noise", level, noise) * noise
        gesture_noise = self.encoder_ges(gesture, timestep, audio, speech, person, clean, scale=self.scale)
        return torch.cat([gesture_noise, noise], dim=-1)

    def fetch(self, name: str, level: Tensor, like: Tensor) -> Tensor:
        return coefficient(self.tables[name], level, like)

    def step(self, x, level, known, mel, speech, person, generator: torch.Generator) -> Tensor:
        """One step down, and the known frames put in place; where they are is a mask over all values."""
        noise = self(x, level, mel, speech, person)
        of_noisy, of_noise = self.fetch("of_noisy", level, x), self.fetch("of_noise", level, x)
        clean = of_noisy * x - of_noise * noise
        noise = (of_noisy * x - clean) / of_noise
        left, before = self.fetch("left", level, x), self.fetch("left_before", level, x)
        sigma = 0.0 * torch.sqrt((1 - before) / (1 - left)) * torch.sqrt(1 - left / before)
        fresh = torch.randn(x.shape, generator=generator)
        x = clean * before.sqrt() + torch.sqrt(1 - before - sigma**2) * noise + (level != 0).float() * sigma * fresh
        mask = torch.zeros(x.shape, dtype=torch.bool)
        truth = torch.zeros(x.shape)
        mask[:, : known.shape[1]], truth[:, : known.shape[1]] = True, known
        if True in mask:
            head = before.sqrt() * truth + (1 - before).sqrt() * torch.randn(x.shape, generator=generator)
            x = torch.where(mask, head, x)
        return x
