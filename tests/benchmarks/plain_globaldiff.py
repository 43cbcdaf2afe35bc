"""GlobalDiff the plain way: stock layers under their published names, in the published order of work.

What the benchmarks measure against and what ``tests/training/test_globaldiff_plain.py`` holds equal to ours. Written
from the facts of the published program, nothing of cospeech in it: every call of the denoiser reads audio, speaker,
time and seed anew, attention is ``nn.MultiheadAttention`` with the weights asked for, kinematics fills a tensor joint
by joint, anchors are points, and a training step measures the ground truth and hears the expressions again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# fmt: off
PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15,
    *(20, 25, 26), *(20, 28, 29), *(20, 31, 32), *(20, 34, 35), *(20, 37, 38),
    *(21, 40, 41), *(21, 43, 44), *(21, 46, 47), *(21, 49, 50), *(21, 52, 53),
)
# fmt: on
HAND = [6 * joint + k for joint in range(25, 55) for k in range(6)]
_UPPER, _LOWER, _FACE = (3, 6, 9, *range(12, 22)), (0, 1, 2, 4, 5, 7, 8, 10, 11), (22, 23, 24)
BODY = [
    *(6 * joint + k for joint in (*_UPPER, *_LOWER) for k in range(6)),
    *(330, 331, 332),
    *(6 * joint + k for joint in _FACE for k in range(6)),
]
_SIDES = 0.05 * torch.stack([sign * axis for axis in torch.eye(3) for sign in (-1.0, 1.0)])


class Positions(nn.Module):
    """Adds sines and cosines, interleaved; the table is kept per shape, as the published package does."""

    def __init__(self, dim: int):
        super().__init__()
        self.penc = nn.Module()
        self.penc.register_buffer("inv_freq", 1e4 ** -(torch.arange(0, dim, 2) / dim))
        self.table = lru_cache(self._table)

    def _table(self, num_frames: int) -> Tensor:
        angles = torch.outer(torch.arange(num_frames).float(), self.penc.inv_freq)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table(x.shape[1])


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, num_seed_frames: int):
        super().__init__()
        self.num_seed_frames = num_seed_frames
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(dim, 9 * dim))
        self.attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.ff = nn.Sequential(nn.Linear(dim, feedforward_dim), nn.GELU(), nn.Linear(feedforward_dim, dim))
        self.ff_seed_poses = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)

    def forward(self, x: Tensor, seed: Tensor, condition: Tensor) -> Tensor:
        gate1, scale1, shift1, gate2, scale2, shift2, gate3, scale3, shift3 = (
            part.unsqueeze(1) for part in self.mlp(condition).chunk(9, dim=-1)
        )
        seed = seed + gate3 * self.ff_seed_poses(self.norm(seed) * (1 + scale3) + shift3)
        head, tail = x[:, : self.num_seed_frames], x[:, self.num_seed_frames :]
        x = torch.cat([head + self.cross_attn(head, seed, seed)[0], tail], dim=1)
        y = x * (1 + scale1) + shift1
        x = self.norm(x + gate1 * self.attn(y, y, y)[0])
        return self.norm(x + gate2 * self.ff(x * (1 + scale2) + shift2))


class PlainDenoiser(nn.Module):
    """``DiffusionDITNetPartsFixedExpressions2PostNorm``; sizes beyond the published ones as keyword arguments."""

    def __init__(
        self,
        dim: int = 384,
        *,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = 768,
        feature_dim: int = 1024,
        num_speakers: int = 31,
        num_seed_frames: int = 8,
    ):
        super().__init__()
        self.num_speakers = num_speakers
        self.pos_enc = Positions(dim)
        self.hubert_prj = nn.Sequential(nn.Linear(feature_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_embed = nn.Sequential(nn.Linear(1, dim), nn.SiLU(), nn.Linear(dim, dim - 64))
        self.style_embed = nn.Module()
        self.style_embed.mlp = nn.Sequential(nn.Linear(num_speakers, 128), nn.SiLU(), nn.Linear(128, 64))
        for name, channels in (("hand", HAND), ("body", BODY)):
            blocks = (Block(dim, num_heads, feedforward_dim, num_seed_frames) for _ in range(num_layers))
            setattr(self, f"in_{name}", nn.Linear(len(channels), dim))
            setattr(self, f"in_x_{name}", nn.Linear(433, dim))
            setattr(self, f"{name}_fuse", nn.Linear(3 * dim, dim))
            setattr(self, f"seed_prj_{name}", nn.Linear(len(channels), dim))
            setattr(self, f"transformer_{name}", nn.ModuleList(blocks))
            setattr(self, name, nn.Linear(dim, len(channels)))

    def forward(
        self, noisy: Tensor, time: Tensor, speaker: Tensor, seed: Tensor, features: Tensor, expressions: Tensor
    ) -> Tensor:
        audio = self.hubert_prj(features)
        style = self.style_embed.mlp(F.one_hot(speaker, self.num_speakers).float())
        condition = torch.cat([self.time_embed(time[:, None]), style], dim=-1)
        whole, clean = torch.cat([noisy, expressions], dim=-1), torch.zeros_like(noisy)
        for name, channels in (("hand", HAND), ("body", BODY)):
            part = getattr(self, f"in_{name}")(noisy[..., channels])
            joined = torch.cat([part, getattr(self, f"in_x_{name}")(whole), audio], dim=-1)
            x = self.pos_enc(getattr(self, f"{name}_fuse")(joined))
            of_seed = self.pos_enc(getattr(self, f"seed_prj_{name}")(seed[..., channels]))
            for block in getattr(self, f"transformer_{name}"):
                x = block(x, of_seed, condition)
            clean[..., channels] = getattr(self, name)(x)
        return clean


class PlainSpeechModel(nn.Module):
    """``SimpleSpeechModel``."""

    def __init__(
        self,
        dim: int = 512,
        *,
        num_layers: int = 4,
        num_heads: int = 4,
        feedforward_dim: int = 1024,
        feature_dim: int = 1024,
        num_speakers: int = 31,
    ):
        super().__init__()
        self.num_speakers = num_speakers
        self.pos_enc = Positions(dim)
        self.style_embed = nn.Module()
        self.style_embed.mlp = nn.Sequential(nn.Linear(num_speakers, 128), nn.SiLU(), nn.Linear(128, 64))
        self.audio_feature_map = nn.Linear(feature_dim + 64, dim)
        layer = nn.TransformerDecoderLayer(dim, num_heads, feedforward_dim, norm_first=True, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers)
        self.vertice_map_r = nn.Linear(dim, 100)

    def forward(self, features: Tensor, speaker: Tensor) -> Tensor:
        style = self.style_embed.mlp(F.one_hot(speaker, self.num_speakers).float())
        style = style.unsqueeze(1).expand(-1, features.shape[1], -1)
        x = self.pos_enc(self.audio_feature_map(torch.cat([features, style], dim=-1)))
        return self.vertice_map_r(self.transformer_decoder(x, x))


class _Residual(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)
        self.conv1, self.conv2 = (nn.Conv1d(dim, dim, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.bn2(self.conv1(F.silu(self.bn1(x))))))


class PlainVAEEncoder(nn.Module):
    """The half of ``MaskedVAE2`` (``stages=(3,)``) or ``MaskedVAE3`` (``(2, 2)``) that the denoiser's training asks."""

    def __init__(
        self,
        stages: Sequence[int],
        dim: int = 256,
        *,
        latent_dim: int = 128,
        num_layers: int = 6,
        num_heads: int = 8,
        feedforward_dim: int = 1024,
    ):
        super().__init__()
        self.in_prj, self.E = nn.Linear(333, dim), nn.Module()
        self.E.in_prj, self.E.pe = nn.Linear(dim, dim), Positions(dim)
        parts: list[nn.Module] = []
        for count in stages:
            parts += [*(_Residual(dim) for _ in range(count)), nn.MaxPool1d(2, 2)]
        self.E.resnets = nn.Sequential(*parts)
        layer = nn.TransformerEncoderLayer(dim, num_heads, feedforward_dim, batch_first=True)
        self.E.encoders = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.E.out_prj = nn.Linear(dim, 2 * latent_dim)

    def forward(self, motion: Tensor) -> Tensor:
        x = self.E.resnets(self.E.in_prj(self.in_prj(motion)).mT).mT
        return self.E.out_prj(self.E.encoders(self.E.pe(x))).chunk(2, dim=-1)[0]


def plain_rot6d(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, both branches worked out for every rotation, then the first two rows: ``(..., 6)``."""

    def skew(x: Tensor) -> Tensor:
        matrix = torch.zeros(*x.shape, 3)
        for row, column, k, sign in (
            (0, 1, 2, -1),
            (0, 2, 1, 1),
            (1, 0, 2, 1),
            (1, 2, 0, -1),
            (2, 0, 1, -1),
            (2, 1, 0, 1),
        ):
            matrix[..., row, column] = sign * x[..., k]
        return matrix

    angle = axis_angle.norm(dim=-1, keepdim=True)
    small, unit, identity = skew(axis_angle), skew(axis_angle / (angle + 1e-12)), torch.eye(3)
    exact = identity + angle[..., None].sin() * unit + (1 - angle[..., None].cos()) * (unit @ unit)
    near_zero = identity + small + 0.5 * (small @ small)
    return torch.where((angle < 1e-4)[..., None], near_zero, exact)[..., :2, :].flatten(-2)


def plain_matrices(rot6d: Tensor) -> Tensor:
    """Gram-Schmidt, written out."""
    first, second = rot6d[..., :3], rot6d[..., 3:]
    first = F.normalize(first, dim=-1)
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def plain_points(motion: Tensor, rest: Tensor) -> Tensor:
    """Joints, then six anchors of each, in space: ``(B, T, 385, 3)``."""
    rotations = plain_matrices(motion[..., :330].reshape(-1, 55, 6))
    rest = rest.unsqueeze(1).expand(-1, motion.shape[1], -1, -1).reshape(-1, 55, 3)
    bones = rest - rest[:, PARENTS]
    joints = torch.zeros_like(bones)
    for joint in range(1, 55):
        parent = PARENTS[joint]
        turned = torch.einsum("nij,nj->ni", rotations[:, parent], bones[:, joint])
        joints[:, joint] = turned + joints[:, parent]
    owner = torch.arange(55).repeat_interleave(len(_SIDES))
    offsets = _SIDES.repeat(55, 1).expand(len(joints), -1, -1)
    anchors = torch.einsum("nvij,nvj->nvi", rotations[:, owner], offsets) + joints[:, owner]
    points = torch.cat([joints, anchors], dim=1).reshape(*motion.shape[:2], -1, 3)
    return points + motion[..., None, 330:]


def plain_losses(predicted: Tensor, clean: Tensor, rest: Tensor, encoders: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Every weighted term of the denoiser's training, under the names of ``cospeech.training.DenoiserLosses``."""

    def reconstruction(frames: slice) -> Tensor:
        a, b = (plain_matrices(x[:, frames, :330].reshape(-1, 6)) for x in (predicted, clean))
        product = torch.bmm(a, b.mT)
        cosine = (product[:, 0, 0] + product[:, 1, 1] + product[:, 2, 2] - 1) / 2
        angles = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        return angles.mean() + F.l1_loss(predicted[:, frames, 330:], clean[:, frames, 330:])

    def smooth(a: Tensor, b: Tensor) -> Tensor:
        return F.smooth_l1_loss(a, b, beta=0.02)

    def gram(points: Tensor) -> Tensor:
        bones = (points[:, :, :55] - points[:, :, PARENTS])[:, :, 1:].reshape(-1, 54, 3)
        bones = bones / (bones.norm(dim=-1, keepdim=True) + 1e-6)
        return torch.einsum("nik,njk->nij", bones, bones)

    true, ours = plain_points(clean, rest), plain_points(predicted, rest)
    velocity, true_velocity = ours[:, 1:] - ours[:, :-1], true[:, 1:] - true[:, :-1]
    acceleration, true_acceleration = (x[:, 1:] - x[:, :-1] for x in (velocity, true_velocity))
    latents = [smooth(encoder(predicted), encoder(clean)) for encoder in encoders]
    return {
        "mse": F.mse_loss(predicted, clean),
        "geodesic": 1e-3 * reconstruction(slice(None)),
        "position": smooth(ours, true),
        "velocity": 10 * smooth(velocity, true_velocity),
        "acceleration": 10 * smooth(acceleration, true_acceleration),
        "structure": (gram(ours) - gram(true)).abs().mean(),
        "latent": 0.2 * torch.stack(latents).sum(),
        "seed": 0.1 * reconstruction(slice(8)),
    }


def plain_window(
    denoiser: nn.Module,
    noise: Tensor,
    speaker: Tensor,
    seed: Tensor,
    features: Tensor,
    expressions: Tensor,
    *,
    num_calls: int = 10,
) -> Tensor:
    """The last prediction of one window of the published sampler, before smoothing."""
    noisy, times = noise, torch.linspace(0, 1, num_calls + 1)
    for now, then in pairwise(times):
        clean = denoiser(noisy, now.expand(len(noise)), speaker, seed, features, expressions)
        clean[:, : seed.shape[1]] = (seed + clean[:, : seed.shape[1]]) / 2
        noisy = (1 - then) * noise + then * clean
    return noisy
