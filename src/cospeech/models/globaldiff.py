"""GlobalDiff's denoiser: global rotations of a window, in two streams.

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

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.globaldiff_block import (
    BlockConditioning,
    Conditioning,
    Modulations,
    SeededDiTBlock,
    StreamInputs,
)
from cospeech.models.globaldiff_speech import check_sizes
from cospeech.nn import FeedForward, Modulation, OneHotEmbedding, SinusoidalPositionalEncoding

__all__ = ["GlobalDiffConfig", "GlobalDiffDenoiser"]


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
        check_sizes(self)
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

    def seed_tokens(self, seed: Tensor) -> Tensor:
        tokens: Tensor = self.positions(self.seed_in(seed[..., self.channels]))
        return tokens

    def condition(self, seed: Tensor, modulations: tuple[tuple[Modulation, ...], ...]) -> list[BlockConditioning]:
        tokens = self.seed_tokens(seed)
        return [
            cast(SeededDiTBlock, block).condition(tokens, of_block)
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
        hand, body = self.stream_inputs(features, expressions, seed)
        modulations = modulations or self.modulate(speaker, times)
        of_hand = self.hand.condition(seed, modulations.hand)
        return Conditioning.by_time(hand, body, of_hand, self.body.condition(seed, modulations.body))

    def stream_inputs(self, features: Tensor, expressions: Tensor, seed: Tensor) -> tuple[StreamInputs, StreamInputs]:
        """What hand and body take from speech; all conditions are checked here."""
        config = self.config
        check_shape("features", features, f"B T {config.feature_dim}")
        check_shape("expressions", expressions, f"B T {config.expression_dim}")
        check_shape("seed", seed, f"B {config.num_seed_frames} {config.motion_dim}")
        audio = self.audio_projection(features)
        return self.hand.inputs(audio, expressions), self.body.inputs(audio, expressions)

    def denoise(self, noisy: Tensor, conditioning: Conditioning, step_index: int) -> Tensor:
        """The predicted clean motion behind ``noisy``, ``(B, T, 6 J + 3)``, at the prepared time ``step_index``."""
        check_shape("noisy", noisy, f"B T {self.config.motion_dim}")
        of_hand, of_body = conditioning.steps[step_index]
        hand = self.hand(self.hand.tokens(noisy, conditioning.hand), of_hand)
        body = self.body(self.body.tokens(noisy, conditioning.body), of_body)
        return torch.cat([hand, body], dim=-1)[..., self.order]


def _rotation_channels(joints: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(6 * joint + k for joint in joints for k in range(6))


def _init_as_one(with_bias: nn.Linear, without_bias: nn.Linear) -> None:
    """Give two layers whose outputs are summed the values of one layer over their concatenated inputs."""
    bound = (with_bias.in_features + without_bias.in_features) ** -0.5
    for parameter in (*with_bias.parameters(), *without_bias.parameters()):
        nn.init.uniform_(parameter, -bound, bound)
