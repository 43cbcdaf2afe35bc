"""GlobalDiff's networks: the two-stream denoiser of global rotations, and the speech model of facial expressions.

The motion vector of a frame is the first two rows of every joint's *global* rotation (``6 J`` numbers), then the root
translation in metres: 333 numbers for SMPL-X. The denoiser predicts the clean window from a noisy one. Two streams,
hands and body, read the same conditions and never exchange anything after their input. Expressions are predicted
beforehand by the speech model and only looked at.

A window is denoised ten times under the same conditions, so the work is cut in two: ``prepare`` does once what does
not depend on the noisy window, ``denoise`` the rest.

Reference:
    Zhang et al., "Mitigating Error Accumulation in Co-Speech Motion Generation via Global Rotation Diffusion and
    Multi-Level Constraints", AAAI 2026, arXiv 2511.10076; the structure is that of the published program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.nn import (
    AdaptiveModulation,
    FeedForward,
    KeyValue,
    Modulation,
    MultiHeadAttention,
    OneHotEmbedding,
    SinusoidalPositionalEncoding,
    TransformerDecoderLayer,
    modulate,
)

__all__ = [
    "BlockConditioning",
    "Conditioning",
    "GlobalDiffConfig",
    "GlobalDiffDenoiser",
    "Modulations",
    "SeededDiTBlock",
    "SpeechModel",
    "SpeechModelConfig",
]


@dataclass(frozen=True, kw_only=True)
class GlobalDiffConfig:
    """Sizes of the denoiser; the defaults are the published ones.

    The four joint lists share out all joints. Hands form one stream; upper body, lower body with the root
    translation, and face form the other, in this order.
    """

    hidden_dim: int = 384
    num_layers: int = 6
    num_heads: int = 8
    feedforward_dim: int = 768
    feature_dim: int = 1024
    expression_dim: int = 100
    num_speakers: int = 31
    speaker_hidden_dim: int = 128
    speaker_dim: int = 64
    num_seed_frames: int = 8
    hand_joints: tuple[int, ...] = tuple(range(25, 55))
    upper_joints: tuple[int, ...] = (3, 6, 9, *range(12, 22))
    lower_joints: tuple[int, ...] = (0, 1, 2, 4, 5, 7, 8, 10, 11)
    face_joints: tuple[int, ...] = (22, 23, 24)

    def __post_init__(self) -> None:
        joints = (*self.hand_joints, *self.upper_joints, *self.lower_joints, *self.face_joints)
        if sorted(joints) != list(range(len(joints))):
            raise ValueError(f"The joint lists must name each of 0..{len(joints) - 1} once; got {sorted(joints)}.")
        _check_sizes(self)
        if not 0 < self.speaker_dim < self.hidden_dim:
            raise ValueError(f"`speaker_dim` must lie between 0 and `hidden_dim`; got {self.speaker_dim}.")

    @property
    def num_joints(self) -> int:
        """Joints in the motion vector."""
        return len(self.hand_joints) + len(self.upper_joints) + len(self.lower_joints) + len(self.face_joints)

    @property
    def motion_dim(self) -> int:
        """Width of the motion vector: six numbers per joint and the root translation."""
        return 6 * self.num_joints + 3

    @property
    def hand_channels(self) -> tuple[int, ...]:
        """Where the hand stream lives in the motion vector."""
        return _rotation_channels(self.hand_joints)

    @property
    def body_channels(self) -> tuple[int, ...]:
        """Where the body stream lives: upper body, lower body, root translation, face."""
        legs = _rotation_channels((*self.upper_joints, *self.lower_joints))
        translation = range(6 * self.num_joints, self.motion_dim)
        return (*legs, *translation, *_rotation_channels(self.face_joints))


class Modulations(NamedTuple):
    """What speaker and times say to the blocks of each stream: for each block, its three branches."""

    hand: tuple[tuple[Modulation, ...], ...]
    body: tuple[tuple[Modulation, ...], ...]


class BlockConditioning(NamedTuple):
    """What one block takes from speaker, time and seed."""

    attention: Modulation
    feedforward: Modulation
    seed: KeyValue

    def unbind(self) -> tuple[BlockConditioning, ...]:
        """One conditioning for each entry of the leading axis."""
        rows = zip(*(tensor.unbind() for part in self for tensor in part), strict=True)
        return tuple(BlockConditioning(Modulation(*row[:3]), Modulation(*row[3:6]), KeyValue(*row[6:])) for row in rows)


class StreamInputs(NamedTuple):
    """What the tokens of one stream take from expressions and audio.

    Attributes:
        expression: Share of the expressions in the motion input, ``(B, T, C)``.
        audio: Share of the audio and the positions in the tokens, ``(B, T, C)``.
    """

    expression: Tensor
    audio: Tensor


class Conditioning(NamedTuple):
    """What the denoiser needs besides the noisy window.

    Attributes:
        hand: For the tokens of the hand stream.
        body: For the tokens of the body stream.
        steps: For each time that was prepared, for each stack of blocks (hand, body, or both as one), for each block.
    """

    hand: StreamInputs
    body: StreamInputs
    steps: tuple[tuple[tuple[BlockConditioning, ...], ...], ...]

    @classmethod
    def of_stacks(cls, hand: StreamInputs, body: StreamInputs, *stacks: list[BlockConditioning]) -> Conditioning:
        """From the conditionings of each stack's blocks, whose leading axis is that of the times."""
        by_time = (zip(*(block.unbind() for block in stack), strict=True) for stack in stacks)
        return cls(hand, body, tuple(zip(*by_time, strict=True)))


class SeededDiTBlock(nn.Module):
    """A post-norm transformer block, modulated by time and speaker, whose first frames look at the seed frames.

    Args:
        dim: Width of tokens, seed tokens and conditioning vector.
        num_heads: Attention heads.
        feedforward_dim: Width inside the feed-forward part.
        num_seed_frames: How many leading tokens look at the seed.

    Example:
        >>> block = SeededDiTBlock(8, num_heads=2, feedforward_dim=16, num_seed_frames=2)
        >>> modulations = block.modulation(torch.randn(1, 8))
        >>> conditioning = block.condition(torch.randn(1, 2, 8), modulations)
        >>> block(torch.randn(1, 5, 8), conditioning).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, *, num_seed_frames: int):
        super().__init__()
        self.num_seed_frames = num_seed_frames
        self.modulation = AdaptiveModulation(dim, dim, num_branches=3)
        self.self_attention = MultiHeadAttention(dim, num_heads)
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.feedforward = FeedForward(dim, feedforward_dim)
        self.seed_feedforward = FeedForward(dim, dim)

    def condition(self, seed: Tensor, modulations: tuple[Modulation, ...]) -> BlockConditioning:
        """What the block takes from all but its tokens.

        Args:
            seed: Seed tokens, ``(B, num_seed_frames, C)``.
            modulations: What ``modulation`` makes of the conditioning vectors ``(..., B, C)``.
        """
        attention, feedforward, branch = modulations
        seed = seed + branch.gate * self.seed_feedforward(modulate(_layer_norm(seed), branch))
        return BlockConditioning(attention, feedforward, self.cross_attention.project(seed))

    def forward(self, x: Tensor, conditioning: BlockConditioning) -> Tensor:
        """Map tokens ``(B, T, C)`` to ``(B, T, C)``."""
        attention, feedforward, seed = conditioning
        head, tail = x[:, : self.num_seed_frames], x[:, self.num_seed_frames :]
        x = torch.cat([head + self.cross_attention.attend(head, seed), tail], dim=1)
        x = _layer_norm(x + attention.gate * self.self_attention(modulate(x, attention)))
        return _layer_norm(x + feedforward.gate * self.feedforward(modulate(x, feedforward)))


class _Stream(nn.Module):
    """One part of the body: its input, its blocks, its output.

    The published input layers read concatenated vectors; here each is cut by columns into what changes from call to
    call and what does not (``expression_in``, ``audio_fuse``), with the same sum.
    """

    channels: Tensor

    def __init__(self, config: GlobalDiffConfig, channels: tuple[int, ...]):
        super().__init__()
        dim = config.hidden_dim
        # On the CPU by name, so that it survives being built on the meta device (see hub/checkpoint.py).
        self.register_buffer("channels", torch.tensor(channels, device="cpu"), persistent=False)
        self.part_in = nn.Linear(len(channels), dim)
        self.motion_in = nn.Linear(config.motion_dim, dim)
        self.expression_in = nn.Linear(config.expression_dim, dim, bias=False)
        self.fuse = nn.Linear(2 * dim, dim)
        self.audio_fuse = nn.Linear(dim, dim, bias=False)
        self.seed_in = nn.Linear(len(channels), dim)
        self.positions = SinusoidalPositionalEncoding(dim)
        self.blocks = nn.ModuleList(
            SeededDiTBlock(dim, config.num_heads, config.feedforward_dim, num_seed_frames=config.num_seed_frames)
            for _ in range(config.num_layers)
        )
        self.head = nn.Linear(dim, len(channels))
        _init_as_one(self.motion_in, self.expression_in)
        _init_as_one(self.fuse, self.audio_fuse)

    def modulations(self, condition: Tensor) -> tuple[tuple[Modulation, ...], ...]:
        return tuple(cast(SeededDiTBlock, block).modulation(condition) for block in self.blocks)

    def inputs(self, audio: Tensor, expressions: Tensor) -> StreamInputs:
        return StreamInputs(self.expression_in(expressions), self.positions(self.audio_fuse(audio)))

    def condition(self, seed: Tensor, modulations: tuple[tuple[Modulation, ...], ...]) -> list[BlockConditioning]:
        seed = self.positions(self.seed_in(seed[..., self.channels]))
        return [
            cast(SeededDiTBlock, block).condition(seed, of_block)
            for block, of_block in zip(self.blocks, modulations, strict=True)
        ]

    def tokens(self, noisy: Tensor, inputs: StreamInputs) -> Tensor:
        part = self.part_in(noisy[..., self.channels])
        motion = self.motion_in(noisy) + inputs.expression
        tokens: Tensor = self.fuse(torch.cat([part, motion], dim=-1)) + inputs.audio
        return tokens

    def forward(self, x: Tensor, conditionings: tuple[BlockConditioning, ...]) -> Tensor:
        for block, conditioning in zip(self.blocks, conditionings, strict=True):
            x = block(x, conditioning)
        clean: Tensor = self.head(x)
        return clean


class GlobalDiffDenoiser(nn.Module):
    """Predicts the clean motion window behind a noisy one.

    Example:
        >>> config = GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, feature_dim=16, speaker_dim=8)
        >>> denoiser = GlobalDiffDenoiser(config).eval()
        >>> noisy, seed = torch.randn(1, 60, 333), torch.zeros(1, 8, 333)
        >>> features, expressions = torch.randn(1, 60, 16), torch.zeros(1, 60, 100)
        >>> times = torch.arange(10) / 10
        >>> conditioning = denoiser.prepare(features, expressions, torch.tensor([2]), seed, times)
        >>> clean = denoiser.denoise(noisy, conditioning, step_index=3)
        >>> plain = denoiser(noisy, times[3:4], torch.tensor([2]), seed, features, expressions)
        >>> torch.allclose(clean, plain, atol=1e-5)
        True
    """

    order: Tensor

    def __init__(self, config: GlobalDiffConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.audio_projection = FeedForward(config.feature_dim, dim, out_dim=dim, activation=F.silu)
        self.time_embedding = FeedForward(1, dim, out_dim=dim - config.speaker_dim, activation=F.silu)
        self.speaker_embedding = OneHotEmbedding(
            config.num_speakers, hidden_dim=config.speaker_hidden_dim, dim=config.speaker_dim
        )
        self.hand = _Stream(config, config.hand_channels)
        self.body = _Stream(config, config.body_channels)
        order = torch.tensor((*config.hand_channels, *config.body_channels), device="cpu").argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(
        self, noisy: Tensor, time: Tensor, speaker: Tensor, seed: Tensor, features: Tensor, expressions: Tensor
    ) -> Tensor:
        """Denoise windows, each at its own time.

        Args:
            noisy: Motion between noise and clean, ``(B, T, 6 J + 3)``.
            time: 0 for pure noise, 1 for clean, ``(B,)``.
            speaker: Integer, ``(B,)``.
            seed: The clean frames that the window starts from, ``(B, num_seed_frames, 6 J + 3)``.
            features: Audio features, one per frame, ``(B, T, feature_dim)``.
            expressions: Facial expressions, ``(B, T, expression_dim)``.

        Returns:
            The predicted clean motion, ``(B, T, 6 J + 3)``.
        """
        return self.denoise(noisy, self.prepare(features, expressions, speaker, seed, time[None]), 0)

    def modulate(self, speaker: Tensor, times: Tensor) -> Modulations:
        """What speakers ``(B,)`` and times ``(K,)`` or ``(K, B)`` say to the blocks, for any number of windows."""
        style = self.speaker_embedding(speaker)
        times = times.to(style.dtype).view(len(times), -1, 1).expand(-1, len(style), 1)
        condition = torch.cat([self.time_embedding(times), style.expand(len(times), -1, -1)], dim=-1)
        return Modulations(self.hand.modulations(condition), self.body.modulations(condition))

    def prepare(
        self,
        features: Tensor,
        expressions: Tensor,
        speaker: Tensor,
        seed: Tensor,
        times: Tensor,
        *,
        modulations: Modulations | None = None,
    ) -> Conditioning:
        """Do once what does not depend on the noisy window.

        Args:
            features: See ``forward``.
            expressions: See ``forward``.
            speaker: See ``forward``.
            seed: See ``forward``.
            times: The times at which ``denoise`` will be called, ``(K,)``, or ``(K, B)`` where windows differ.
            modulations: ``modulate(speaker, times)``, where it is kept from window to window.

        Returns:
            Conditions for ``denoise``, whose ``step_index`` counts along ``times``.

        Raises:
            ValueError: If a shape does not fit the configuration.
        """
        parts = self.conditions(features, expressions, seed, modulations or self.modulate(speaker, times))
        return Conditioning.of_stacks(*parts)

    def conditions(
        self, features: Tensor, expressions: Tensor, seed: Tensor, modulations: Modulations
    ) -> tuple[StreamInputs, StreamInputs, list[BlockConditioning], list[BlockConditioning]]:
        """What ``prepare`` consists of: inputs of hand and body, then the conditionings of the blocks of each."""
        config = self.config
        check_shape("features", features, f"B T {config.feature_dim}")
        check_shape("expressions", expressions, f"B T {config.expression_dim}")
        check_shape("seed", seed, f"B {config.num_seed_frames} {config.motion_dim}")
        audio = self.audio_projection(features)
        return (
            self.hand.inputs(audio, expressions),
            self.body.inputs(audio, expressions),
            self.hand.condition(seed, modulations.hand),
            self.body.condition(seed, modulations.body),
        )

    def denoise(self, noisy: Tensor, conditioning: Conditioning, step_index: int) -> Tensor:
        """The predicted clean motion behind ``noisy``, ``(B, T, 6 J + 3)``, at the prepared time ``step_index``."""
        check_shape("noisy", noisy, f"B T {self.config.motion_dim}")
        of_hand, of_body = conditioning.steps[step_index]
        hand = self.hand(self.hand.tokens(noisy, conditioning.hand), of_hand)
        body = self.body(self.body.tokens(noisy, conditioning.body), of_body)
        return torch.cat([hand, body], dim=-1)[..., self.order]


@dataclass(frozen=True, kw_only=True)
class SpeechModelConfig:
    """Sizes of the speech model; the defaults are the published ones."""

    hidden_dim: int = 512
    num_layers: int = 4
    num_heads: int = 4
    feedforward_dim: int = 1024
    feature_dim: int = 1024
    expression_dim: int = 100
    num_speakers: int = 31
    speaker_hidden_dim: int = 128
    speaker_dim: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_sizes(self)


class SpeechModel(nn.Module):
    """Facial expressions from audio features and speaker, frame for frame.

    A pre-norm transformer decoder whose memory is its own input, without a final norm, as published.

    Example:
        >>> config = SpeechModelConfig(hidden_dim=32, num_layers=1, feature_dim=16)
        >>> SpeechModel(config).eval()(torch.randn(1, 60, 16), torch.tensor([2])).shape
        torch.Size([1, 60, 100])
    """

    def __init__(self, config: SpeechModelConfig):
        super().__init__()
        self.config = config
        dim = config.hidden_dim
        self.speaker_embedding = OneHotEmbedding(
            config.num_speakers, hidden_dim=config.speaker_hidden_dim, dim=config.speaker_dim
        )
        self.project = nn.Linear(config.feature_dim + config.speaker_dim, dim)
        self.positions = SinusoidalPositionalEncoding(dim)
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(
                dim, config.num_heads, config.feedforward_dim, norm_first=True, dropout=config.dropout
            )
            for _ in range(config.num_layers)
        )
        self.head = nn.Linear(dim, config.expression_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, speaker: Tensor) -> Tensor:
        """Expressions ``(B, T, expression_dim)`` for features ``(B, T, feature_dim)`` and speakers ``(B,)``.

        Raises:
            ValueError: If a shape does not fit the configuration.
        """
        check_shape("features", features, f"B T {self.config.feature_dim}")
        style = self.speaker_embedding(speaker)[:, None].expand(-1, features.shape[1], -1)
        memory = self.positions(self.project(torch.cat([features, style], dim=-1)))
        x = memory
        for layer in self.layers:
            x = layer(x, memory)
        expressions: Tensor = self.head(x)
        return expressions


def _check_sizes(config: GlobalDiffConfig | SpeechModelConfig) -> None:
    """Refuse sizes which no model can have, before anything is built of them."""
    for field in fields(config):
        value = getattr(config, field.name)
        most = 256 if field.name == "num_layers" else 1 << 16
        if isinstance(value, int) and not 1 <= value <= most:
            raise ValueError(f"`{field.name}` must lie in 1..{most}; got {value}.")


def _rotation_channels(joints: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(6 * joint + k for joint in joints for k in range(6))


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _init_as_one(with_bias: nn.Linear, without_bias: nn.Linear) -> None:
    """Give two layers whose outputs are summed the values of one layer over their concatenated inputs."""
    bound = (with_bias.in_features + without_bias.in_features) ** -0.5
    for parameter in (*with_bias.parameters(), *without_bias.parameters()):
        nn.init.uniform_(parameter, -bound, bound)
