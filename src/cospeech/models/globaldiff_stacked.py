"""GlobalDiff's denoiser for inference: both streams as one batch, in memory that all calls of a window share.

The streams are independent and their blocks of one shape, so each pair of blocks is one block over twice the batch. A
window is denoised ten times at one shape, with so few rows that a product is bound by reading its weights and by what
surrounds it. So the weights lie input by input, in the order in which few rows read them fastest; what the noisy
window goes through on its way in is one product (nothing in it bends); and results are written where the call before
left its own. For the speed of each part see ``tests/benchmarks/bench_globaldiff.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech._checks import check_shape
from cospeech.models.globaldiff import GlobalDiffConfig, GlobalDiffDenoiser
from cospeech.models.globaldiff_block import Modulations, SeededDiTBlock, plain_layer_norm
from cospeech.nn import KeyValue, Modulation, StackedLinear, modulate, optimize
from cospeech.nn.optimization import Precision, shortest_times

__all__ = ["StackedConditioning", "StackedDenoiser", "optimize_denoiser"]

# Axes: N streams (2), B clips, T frames, F seed frames, R = B T rows, C channels, H heads, D = C / H, K times.

_LAYERS = {
    "query": "self_attention.query",
    "key_value": "self_attention.key_value",
    "attention_out": "self_attention.out",
    "expand": "feedforward.expand",
    "contract": "feedforward.contract",
    "head_query": "cross_attention.query",
    "head_out": "cross_attention.out",
    "seed_key_value": "cross_attention.key_value",
    "seed_expand": "seed_feedforward.expand",
    "seed_contract": "seed_feedforward.contract",
}


class StackStep(NamedTuple):
    """What one pair of blocks takes from speaker, time and seed in one call.

    Attributes:
        attention: Its scale with the 1 added, ``(N, B, 1, C)`` each.
        feedforward: Likewise.
        seed: ``(N B, H, F, D)`` each.
    """

    attention: Modulation
    feedforward: Modulation
    seed: KeyValue


class StackBuffers(NamedTuple):
    """Memory for one shape. Nothing in it outlasts a call.

    Attributes:
        tokens: ``(N, R, C)``.
        branch: What goes into a branch of a block, and what comes out, ``(N, R, C)``.
        query: ``(N, R, C)``, then what attention reads.
        key_value: ``(N, R, 2 C)``.
        scores: ``(N B, H, T, T)``.
        expanded: ``(N, R, feedforward_dim)``.
    """

    tokens: Tensor
    branch: Tensor
    query: Tensor
    key_value: Tensor
    scores: Tensor
    expanded: Tensor

    @classmethod
    def of(cls, config: GlobalDiffConfig, batch_size: int, num_frames: int, like: Tensor) -> StackBuffers:
        """Buffers for windows of a shape."""
        rows, dim = batch_size * num_frames, config.hidden_dim
        return cls(
            tokens=like.new_empty(2, rows, dim),
            branch=like.new_empty(2, rows, dim),
            query=like.new_empty(2, rows, dim),
            key_value=like.new_empty(2, rows, 2 * dim),
            scores=like.new_empty(2 * batch_size, config.num_heads, num_frames, num_frames),
            expanded=like.new_empty(2, rows, config.feedforward_dim),
        )


class StackedConditioning(NamedTuple):
    """What ``StackedDenoiser.denoise`` needs besides the noisy window; it is for one thread at a time.

    Attributes:
        constant: What tokens hold of all but the noisy window, ``(N, R, C)``.
        steps: For each time, for each pair of blocks.
        buffers: Memory of the calls.
    """

    constant: Tensor
    steps: tuple[tuple[StackStep, ...], ...]
    buffers: StackBuffers


class StackedBlock(nn.Module):
    """A pair of blocks for inference; it copies their weights, and keeps tokens in buffers.

    Args:
        hand: Block of the hand stream.
        body: Its counterpart.
    """

    def __init__(self, hand: SeededDiTBlock, body: SeededDiTBlock):
        super().__init__()
        self.num_seed_frames = hand.num_seed_frames
        self.num_heads = hand.self_attention.num_heads
        pairs = {name: [block.get_submodule(path) for block in (hand, body)] for name, path in _LAYERS.items()}
        self.layers = nn.ModuleDict(
            {name: StackedLinear(cast("list[nn.Linear]", pair)) for name, pair in pairs.items()}
        )

    def condition(self, seed: Tensor, of_hand: Sequence[Modulation], of_body: Sequence[Modulation]) -> list[StackStep]:
        """What the pair takes from seed tokens ``(N, B, F, C)`` and from what it is told ``(K, B, 1, C)``, by time."""
        pairs = zip(of_hand, of_body, strict=True)
        attention, feedforward, branch = (
            Modulation(*(torch.stack(pair) for pair in zip(*both, strict=True))) for both in pairs
        )
        seed = seed[:, None]
        hidden = F.gelu(self.layers["seed_expand"](modulate(plain_layer_norm(seed), branch)))
        seed = torch.addcmul(seed, branch.gate, self.layers["seed_contract"](hidden))
        parts = self.layers["seed_key_value"](seed).unflatten(-1, (2, self.num_heads, -1))
        key, value = parts.permute(4, 1, 0, 2, 5, 3, 6).flatten(2, 3)  # (K, N B, H, F, D) each
        attention, feedforward = (part._replace(scale=1 + part.scale) for part in (attention, feedforward))
        return [StackStep(_at(attention, k), _at(feedforward, k), KeyValue(key[k], value[k])) for k in range(len(key))]

    def forward(self, x: Tensor, step: StackStep, buffers: StackBuffers) -> Tensor:
        """Map tokens ``(N, R, C)``, whose memory is spent, to ``(N, R, C)``."""
        shape = (2, -1, buffers.scores.shape[-1], x.shape[-1])  # (N, B, T, C)
        self._look_at_seed(x.view(shape).flatten(0, 1)[:, : self.num_seed_frames], step.seed)
        scaled = torch.addcmul(
            step.attention.shift, x.view(shape), step.attention.scale, out=buffers.branch.view(shape)
        )
        self._attend(scaled.view_as(x), buffers)
        x.view(shape).addcmul_(step.attention.gate, buffers.branch.view(shape))
        x = plain_layer_norm(x)
        torch.addcmul(step.feedforward.shift, x.view(shape), step.feedforward.scale, out=buffers.branch.view(shape))
        self._product("expand", buffers.branch, buffers.expanded)
        self._product("contract", torch.ops.aten.gelu_(buffers.expanded), buffers.branch)
        x.view(shape).addcmul_(step.feedforward.gate, buffers.branch.view(shape))
        return plain_layer_norm(x)

    def _look_at_seed(self, head: Tensor, seed: KeyValue) -> None:
        """Add to the first frames ``(N B, S, C)`` what they read from the seed frames."""
        query = self.layers["head_query"](head.contiguous()).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        weights = (query @ seed.key.mT).mul_(query.shape[-1] ** -0.5).softmax(dim=-1)
        head.add_(self.layers["head_out"]((weights @ seed.value).transpose(1, 2).flatten(2)))

    def _attend(self, x: Tensor, buffers: StackBuffers) -> None:
        """Self-attention of each clip: from ``branch`` to ``branch``."""
        heads = self.num_heads
        query = self._product("query", x, buffers.query)
        key_value = self._product("key_value", x, buffers.key_value)
        clips, frames = len(buffers.scores), buffers.scores.shape[-1]
        query_BHTD = query.view(clips, frames, heads, -1).transpose(1, 2)
        key_BHDT, value_BHDT = key_value.view(clips, frames, 2, heads, -1).permute(2, 0, 3, 4, 1)
        # Clip by clip the heads can be read where they lie. At this length it is faster than the fused kernel.
        for b in range(clips):
            torch.baddbmm(
                buffers.scores[b],
                query_BHTD[b],
                key_BHDT[b],
                beta=0,
                alpha=query_BHTD.shape[-1] ** -0.5,
                out=buffers.scores[b],
            )
        weights = torch.softmax(buffers.scores, dim=-1, out=buffers.scores)
        for b in range(clips):
            query_BHTD[b] = torch.bmm(weights[b], value_BHDT[b].mT)
        self._product("attention_out", query, buffers.branch)

    def _product(self, name: str, x: Tensor, out: Tensor) -> Tensor:
        layer = cast(StackedLinear, self.layers[name])
        return torch.baddbmm(layer.bias, x, layer.weight, out=out)


class StackedDenoiser(nn.Module):
    """A denoiser for inference that gives what ``denoiser`` gives, both streams as one batch.

    It copies the weights of the blocks, and shares the rest with ``denoiser``.

    Example:
        >>> config = GlobalDiffConfig(hidden_dim=32, num_layers=1, num_heads=2, feature_dim=16, speaker_dim=8)
        >>> denoiser = GlobalDiffDenoiser(config).eval()
        >>> stacked, noisy = StackedDenoiser(denoiser), torch.randn(1, 60, 333)
        >>> given = (torch.randn(1, 60, 16), torch.zeros(1, 60, 100), torch.tensor([2]), torch.zeros(1, 8, 333))
        >>> times = torch.arange(10) / 10
        >>> clean = stacked.denoise(noisy, stacked.prepare(*given, times), step_index=3)
        >>> torch.allclose(clean, denoiser.denoise(noisy, denoiser.prepare(*given, times), step_index=3), atol=1e-5)
        True
    """

    motion_in: Tensor
    motion_out: Tensor

    @torch.no_grad()
    def __init__(self, denoiser: GlobalDiffDenoiser):
        super().__init__()
        self.denoiser = denoiser
        pairs = zip(denoiser.hand.blocks, denoiser.body.blocks, strict=True)
        self.blocks = nn.ModuleList(
            StackedBlock(cast(SeededDiTBlock, hand), cast(SeededDiTBlock, body)) for hand, body in pairs
        )
        ways_in: list[Tensor] = []
        ways_out: list[Tensor] = []
        for stream in (denoiser.hand, denoiser.body):
            part, motion = (weight.double() for weight in stream.fuse.weight.chunk(2, dim=1))
            way_in = motion @ stream.motion_in.weight.double()
            way_in[:, stream.channels] += part @ stream.part_in.weight.double()
            ways_in.append(way_in.mT.to(stream.fuse.weight))
            way_out = torch.zeros_like(way_in, dtype=stream.head.weight.dtype)
            way_out[:, stream.channels] = stream.head.weight.mT
            ways_out.append(way_out)
        bias = torch.cat([denoiser.hand.head.bias, denoiser.body.head.bias])[denoiser.order]
        self.register_buffer("motion_in", torch.stack(ways_in), persistent=False)
        self.register_buffer("motion_out", torch.stack(ways_out), persistent=False)
        self.register_buffer("out_bias", bias, persistent=False)

    @property
    def config(self) -> GlobalDiffConfig:
        """The denoiser's configuration."""
        return self.denoiser.config

    def modulate(self, speaker: Tensor, times: Tensor) -> Modulations:
        """See ``GlobalDiffDenoiser.modulate``."""
        return self.denoiser.modulate(speaker, times)

    @torch.no_grad()
    def prepare(
        self,
        features: Tensor,
        expressions: Tensor,
        speaker: Tensor,
        seed: Tensor,
        times: Tensor,
        *,
        modulations: Modulations | None = None,
    ) -> StackedConditioning:
        """See ``GlobalDiffDenoiser.prepare``; the result is for this object's ``denoise`` only."""
        modulations = modulations or self.modulate(speaker, times)
        streams = self.denoiser.hand, self.denoiser.body
        inputs = self.denoiser.stream_inputs(features, expressions, seed)
        nothing = features.new_zeros(*features.shape[:2], self.config.motion_dim)
        constants = [stream.tokens(nothing, given) for stream, given in zip(streams, inputs, strict=True)]
        seeds = torch.stack([stream.seed_tokens(seed) for stream in streams])
        told = zip(self.blocks, modulations.hand, modulations.body, strict=True)
        steps = [cast(StackedBlock, block).condition(seeds, of_hand, of_body) for block, of_hand, of_body in told]
        buffers = StackBuffers.of(self.config, features.shape[0], features.shape[1], like=seeds)
        return StackedConditioning(torch.stack(constants).flatten(1, 2), tuple(zip(*steps, strict=True)), buffers)

    @torch.no_grad()
    def denoise(self, noisy: Tensor, conditioning: StackedConditioning, step_index: int) -> Tensor:
        """See ``GlobalDiffDenoiser.denoise``."""
        check_shape("noisy", noisy, f"B T {self.config.motion_dim}")
        buffers = conditioning.buffers
        rows = noisy.flatten(0, 1)
        x = torch.baddbmm(conditioning.constant, rows.expand(2, -1, -1), self.motion_in, out=buffers.tokens)
        for block, step in zip(self.blocks, conditioning.steps[step_index], strict=True):
            x = block(x, step, buffers)
        clean = torch.addmm(cast(Tensor, self.out_bias), x[0], self.motion_out[0]).addmm_(x[1], self.motion_out[1])
        return clean.view_as(noisy)


def optimize_denoiser(
    denoiser: GlobalDiffDenoiser,
    *,
    precision: Precision = "float32",
    batch_size: int = 1,
    num_frames: int = 60,
    compiled: bool = False,
) -> GlobalDiffDenoiser | StackedDenoiser:
    """The denoiser the fastest way found on this machine: two streams with optimized layers, or one stack.

    Args:
        denoiser: Left as it is.
        precision: See ``cospeech.nn.optimize``.
        batch_size: Windows that are usually denoised together.
        num_frames: Of a window.
        compiled: See ``cospeech.nn.optimize``.

    Note:
        The choice is made by measuring, so two runs may choose differently and then differ by rounding.
    """
    rows = batch_size * num_frames
    streams = optimize(denoiser, precision=precision, rows=rows, compiled=compiled)
    ways: list[GlobalDiffDenoiser | StackedDenoiser] = [streams, StackedDenoiser(denoiser)]
    times = _times(ways, batch_size, num_frames, denoiser.order.device)
    return ways[times.index(min(times))]


def _at(modulation: Modulation, time: int) -> Modulation:
    """At one of the times, ``(N, K, B, 1, C)`` to ``(N, B, 1, C)``."""
    return Modulation(*(part[:, time] for part in modulation))


@torch.inference_mode()
def _times(
    ways: Sequence[GlobalDiffDenoiser | StackedDenoiser], batch_size: int, num_frames: int, device: torch.device
) -> list[float]:
    """Seconds that each way takes."""
    config = ways[0].config
    noisy = torch.zeros(batch_size, num_frames, config.motion_dim, device=device)
    features = noisy.new_zeros(batch_size, num_frames, config.feature_dim)
    expressions = noisy.new_zeros(batch_size, num_frames, config.expression_dim)
    seed = noisy.new_zeros(batch_size, config.num_seed_frames, config.motion_dim)
    speaker = torch.zeros(batch_size, dtype=torch.long, device=device)
    given = (features, expressions, speaker, seed, noisy.new_zeros(1))
    conditionings: list[Any] = [way.prepare(*given) for way in ways]  # each way has its own form
    calls = [partial(way.denoise, noisy, given, 0) for way, given in zip(ways, conditionings, strict=True)]
    return shortest_times(calls, noisy.device, num_turns=6)
