"""The network behind the Fréchet gesture distance of the BEAT2 papers: a skeleton-convolution autoencoder.

Channels belong to *edges* of the skeleton, six per edge and more further in. A convolution along time connects an edge
to its neighbours only, and pooling merges the edges of a limb two by two, so the latent of a clip still says which part
of the body it speaks of. Input is the Rot6D rows of local rotations; the edge of a joint is the one from its parent.

Reference:
    Aberman et al., "Skeleton-Aware Networks for Deep Motion Retargeting", SIGGRAPH 2020; the autoencoder is that of Liu
    et al., EMAGE, CVPR 2024 (``VAESKConv``), used as it is by GlobalDiff and many others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.skeleton import SMPLX

__all__ = ["EdgeLevel", "SkeletonAutoencoder", "SkeletonAutoencoderConfig", "edge_levels"]

_KERNEL_FRAMES = 4
_NORM_GROUPS = 10
_SLOPE = 0.2

Edge = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SkeletonAutoencoderConfig:
    """Sizes of the autoencoder; the defaults are those of the checkpoint ``AESKConv_240_100``.

    ``edge_channels`` are the channels of each edge, from the input to the latent; each step halves the frame rate.
    """

    parents: tuple[int, ...] = SMPLX.parents
    edge_channels: tuple[int, ...] = (6, 6, 6, 12, 12)
    max_distance: int = 2

    def __post_init__(self) -> None:
        if len(self.edge_channels) < 2 or min(self.edge_channels) < 1:
            raise ValueError(f"`edge_channels` must name two widths at least; got {self.edge_channels}.")
        if self.max_distance < 0:
            raise ValueError(f"`max_distance` must not be negative; got {self.max_distance}.")
        if not self.parents or any(not -1 <= parent < joint for joint, parent in enumerate(self.parents)):
            raise ValueError("`parents` must list every joint after its parent, the root first with -1.")

    @property
    def stride(self) -> int:
        """Frames per latent."""
        return 1 << (len(self.edge_channels) - 1)


class EdgeLevel(NamedTuple):
    """The edges at one depth of the network.

    Attributes:
        neighbours: For each edge those that a convolution connects it to, itself included.
        groups: Which of these edges each edge of the next level is the mean of.
    """

    neighbours: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def pools(self) -> bool:
        """Whether any edges are merged."""
        return any(len(group) > 1 for group in self.groups)


def edge_levels(parents: Sequence[int], num_levels: int, *, max_distance: int = 2) -> tuple[EdgeLevel, ...]:
    """The graph that each layer works on.

    Args:
        parents: Index of each joint's parent, -1 for the root.
        num_levels: How many layers there are.
        max_distance: Edges that are so many steps apart, or fewer, are neighbours; edges that meet are one step apart.

    Example:
        >>> levels = edge_levels((-1, 0, 1, 2), num_levels=2)  # a chain, and an edge made up for the root
        >>> [level.groups for level in levels]
        [((0,), (1,), (2, 3)), ((0,), (1, 2))]
    """
    edges: list[Edge] = [(0, len(parents)), *((parent, joint) for joint, parent in enumerate(parents) if parent >= 0)]
    levels = []
    for _ in range(num_levels):
        groups = _pool_groups(edges)
        levels.append(EdgeLevel(_neighbours(edges, max_distance), groups))
        edges = [(edges[group[0]][0], edges[group[-1]][1]) for group in groups]
    return tuple(levels)


class SkeletonAutoencoder(nn.Module):
    """Clips to latents at a sixteenth of the rate, and back; the Fréchet gesture distance compares the latents.

    The normalisation runs over all frames that come in together, so a frame's latent depends on the whole clip: compare
    clips or windows of one length only.

    Example:
        >>> model = SkeletonAutoencoder(SkeletonAutoencoderConfig()).eval()
        >>> model.encode(torch.randn(2, 64, 330)).shape
        torch.Size([2, 4, 240])
    """

    def __init__(self, config: SkeletonAutoencoderConfig):
        super().__init__()
        self.config = config
        self.levels = edge_levels(config.parents, len(config.edge_channels) - 1, max_distance=config.max_distance)
        widths = list(pairwise(config.edge_channels))
        self.layers = nn.ModuleList(
            _SkeletonLayer(level, *pair) for level, pair in zip(self.levels, widths, strict=True)
        )
        dim = len(self.levels[-1].groups) * config.edge_channels[-1]
        self.latent_dim, self.motion_dim = dim, len(config.parents) * config.edge_channels[0]
        # In the published weights, and not used by them: the autoencoder is not variational.
        self.mean, self.log_variance = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.residuals = nn.ModuleList(_ConvResidual(dim) for _ in range(2))
        decoder_widths = [dim] * len(self.layers) + [self.motion_dim]
        self.upsampling = nn.ModuleList(_conv(*pair) for pair in pairwise(decoder_widths))
        self.out = _conv(self.motion_dim, self.motion_dim)

    def encode(self, rot6d: Tensor) -> Tensor:
        """Latents ``(B, T / stride, C')`` of local rotations ``(B, T, 6 J)``, all between -1 and 1.

        Raises:
            ValueError: If the channels do not fit, or the length is not a multiple of the stride.
        """
        latents: Tensor = self.encode_layers(rot6d)[-1].mT
        return latents

    def encode_layers(self, rot6d: Tensor) -> list[Tensor]:
        """What comes out of each layer of the encoder, ``(B, C, T)``; see ``encode``."""
        check_shape("rot6d", rot6d, f"B T {self.motion_dim}")
        if rot6d.shape[1] == 0 or rot6d.shape[1] % self.config.stride:
            raise ValueError(f"`rot6d` must hold a multiple of {self.config.stride} frames; got {rot6d.shape[1]}.")
        outputs = [rot6d.mT]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs[1:]

    def decode(self, latents: Tensor) -> Tensor:
        """Rotations ``(B, stride * L, 6 J)``, not made orthonormal, from latents ``(B, L, C')``."""
        check_shape("latents", latents, f"B L {self.latent_dim}")
        x = latents.mT
        for residual in self.residuals:
            x = residual(x)
        for conv in self.upsampling:
            x = F.leaky_relu(conv(x.repeat_interleave(2, dim=-1)), _SLOPE)
        rot6d: Tensor = self.out(x).mT
        return rot6d

    def forward(self, rot6d: Tensor) -> Tensor:
        """Encode and decode, ``(B, T, 6 J)`` to the same."""
        return self.decode(self.encode(rot6d))


class _MaskedConv(nn.Conv1d):
    """A convolution along time whose weights between edges that are not neighbours are zero."""

    mask: Tensor

    def __init__(self, level: EdgeLevel, in_channels: int, out_channels: int, kernel_size: int, *, padding: int = 0):
        num_edges = len(level.neighbours)
        super().__init__(num_edges * in_channels, num_edges * out_channels, kernel_size, stride=2, padding=padding)
        connected = torch.zeros(num_edges, num_edges, device="cpu")
        for edge, neighbours in enumerate(level.neighbours):
            connected[edge, list(neighbours)] = 1.0
        mask = connected.repeat_interleave(out_channels, 0).repeat_interleave(in_channels, 1)
        self.register_buffer("mask", mask[..., None].expand_as(self.weight).contiguous(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(input, self.weight * self.mask, self.bias)
        return y


class _SkeletonLayer(nn.Module):
    """Two masked convolutions, added, pooled over edges, and squashed."""

    pooling: Tensor

    def __init__(self, level: EdgeLevel, in_channels: int, out_channels: int):
        super().__init__()
        self.level = level
        self.residual = _MaskedConv(level, in_channels, out_channels, _KERNEL_FRAMES, padding=1)
        self.norm = nn.GroupNorm(_NORM_GROUPS, len(level.neighbours) * out_channels)
        self.shortcut = _MaskedConv(level, in_channels, out_channels, 1)
        means = torch.zeros(len(level.groups), len(level.neighbours), device="cpu")
        for row, group in enumerate(level.groups):
            means[row, list(group)] = 1 / len(group)
        pooling = torch.kron(means, torch.eye(out_channels, device="cpu"))
        self.register_buffer("pooling", pooling, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.residual(x)) + self.shortcut(x)
        return torch.tanh(self.pooling @ y if self.level.pools else y)


class _ConvResidual(nn.Module):
    """``x + conv(lrelu(conv(x)))`` on ``(B, C, T)``."""

    def __init__(self, dim: int):
        super().__init__()
        self.expand = _conv(dim, dim)
        self.contract = _conv(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.contract(F.leaky_relu(self.expand(x), _SLOPE))
        return y


def _conv(in_dim: int, out_dim: int) -> nn.Conv1d:
    return nn.Conv1d(in_dim, out_dim, kernel_size=3, padding=1)


def _neighbours(edges: Sequence[Edge], max_distance: int) -> tuple[tuple[int, ...], ...]:
    meeting = [
        [other for other, ends in enumerate(edges) if other != edge and set(ends) & set(edges[edge])]
        for edge in range(len(edges))
    ]
    return tuple(tuple(sorted(_within(meeting, edge, max_distance))) for edge in range(len(edges)))


def _within(meeting: Sequence[Sequence[int]], start: int, max_distance: int) -> set[int]:
    """Edges at most so many steps away, breadth first."""
    distance = {start: 0}
    queue = deque([start])
    while queue:
        edge = queue.popleft()
        for other in meeting[edge]:
            if other not in distance and distance[edge] < max_distance:
                distance[other] = distance[edge] + 1
                queue.append(other)
    return set(distance)


def _pool_groups(edges: Sequence[Edge]) -> tuple[tuple[int, ...], ...]:
    """Pairs along unbranched chains, depth first; of an odd chain the first edge stays alone."""
    groups: list[tuple[int, ...]] = []
    for chain in _chains(edges):
        head = len(chain) % 2
        groups += [(chain[0],)] * head
        groups += [tuple(chain[i : i + 2]) for i in range(head, len(chain), 2)]
    return tuple(groups)


def _chains(edges: Sequence[Edge]) -> Iterator[list[int]]:
    degree: dict[int, int] = {}
    leaving: dict[int, list[int]] = {}
    for number, (start, end) in enumerate(edges):
        degree[start] = degree.get(start, 0) + 1
        degree[end] = degree.get(end, 0) + 1
        leaving.setdefault(start, []).append(number)

    def walk(joint: int, chain: list[int]) -> Iterator[list[int]]:
        # The published walk closes the chain at a fork, except at the root, where every limb starts afresh.
        if degree[joint] > 2 and joint != 0:
            yield chain
            chain = []
        if degree[joint] == 1:
            yield chain
        for number in leaving.get(joint, ()):
            yield from walk(edges[number][1], [*chain, number])

    yield from walk(0, [])
