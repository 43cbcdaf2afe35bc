"""GlobalDiff's denoiser with the blocks of both streams run as one, and the choice between the two ways.

The streams are independent and their blocks of one shape, so each pair of blocks can be one block over twice the
batch. Whether that is faster depends on the machine: it halves the calls and shares the work out evenly, but batched
products cannot use the packed weights that some processors prefer.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from cospeech.models.globaldiff import (
    BlockConditioning,
    Conditioning,
    GlobalDiffConfig,
    GlobalDiffDenoiser,
    Modulations,
    SeededDiTBlock,
)
from cospeech.nn import KeyValue, Modulation, optimize, stack_modules
from cospeech.nn.optimization import Precision, shortest_times

__all__ = ["StackedDenoiser", "optimize_denoiser"]


class StackedDenoiser(nn.Module):
    """A denoiser for inference that gives what ``denoiser`` gives, both streams as one batch.

    It shares the weights of ``denoiser`` but for those of the blocks' repeated work, which it copies.

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

    def __init__(self, denoiser: GlobalDiffDenoiser):
        super().__init__()
        self.denoiser = denoiser
        pairs = zip(denoiser.hand.blocks, denoiser.body.blocks, strict=True)
        self.blocks = nn.ModuleList(
            _stacked(cast(SeededDiTBlock, hand), cast(SeededDiTBlock, body)) for hand, body in pairs
        )

    @property
    def config(self) -> GlobalDiffConfig:
        """The denoiser's configuration."""
        return self.denoiser.config

    def modulate(self, speaker: Tensor, times: Tensor) -> Modulations:
        """See ``GlobalDiffDenoiser.modulate``."""
        return self.denoiser.modulate(speaker, times)

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
        """See ``GlobalDiffDenoiser.prepare``; the result is for this object's ``denoise`` only."""
        modulations = modulations or self.modulate(speaker, times)
        hand_inputs, body_inputs, of_hand, of_body = self.denoiser.conditions(features, expressions, seed, modulations)
        both = [_joined(hand, body) for hand, body in zip(of_hand, of_body, strict=True)]
        return Conditioning.of_stacks(hand_inputs, body_inputs, both)

    def denoise(self, noisy: Tensor, conditioning: Conditioning, step_index: int) -> Tensor:
        """See ``GlobalDiffDenoiser.denoise``."""
        hand, body = self.denoiser.hand, self.denoiser.body
        x = torch.cat([hand.tokens(noisy, conditioning.hand), body.tokens(noisy, conditioning.body)])
        for block, of_block in zip(self.blocks, conditioning.steps[step_index][0], strict=True):
            x = block(x, of_block)
        of_hand, of_body = x.chunk(2)
        return torch.cat([hand.head(of_hand), body.head(of_body)], dim=-1)[..., self.denoiser.order]


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


def _stacked(hand: SeededDiTBlock, body: SeededDiTBlock) -> SeededDiTBlock:
    """A pair of blocks as one, without what only ``SeededDiTBlock.condition`` needs."""
    stacked = stack_modules([hand, body])
    for owner, name in ((stacked, "modulation"), (stacked, "seed_feedforward"), (stacked.cross_attention, "key_value")):
        setattr(owner, name, nn.Identity())
    return stacked


def _joined(hand: BlockConditioning, body: BlockConditioning) -> BlockConditioning:
    """The conditionings of two blocks, one after the other along the batch axis, which follows that of the times."""
    tensors = [torch.cat(pair, dim=1) for part in zip(hand, body, strict=True) for pair in zip(*part, strict=True)]
    return BlockConditioning(Modulation(*tensors[:3]), Modulation(*tensors[3:6]), KeyValue(*tensors[6:]))


@torch.inference_mode()
def _times(
    ways: list[GlobalDiffDenoiser | StackedDenoiser], batch_size: int, num_frames: int, device: torch.device
) -> list[float]:
    """Seconds that each way takes."""
    config = ways[0].config
    noisy = torch.zeros(batch_size, num_frames, config.motion_dim, device=device)
    features = noisy.new_zeros(batch_size, num_frames, config.feature_dim)
    expressions = noisy.new_zeros(batch_size, num_frames, config.expression_dim)
    seed = noisy.new_zeros(batch_size, config.num_seed_frames, config.motion_dim)
    speaker = torch.zeros(batch_size, dtype=torch.long, device=device)
    given = (features, expressions, speaker, seed, noisy.new_zeros(1))
    conditionings = [way.prepare(*given) for way in ways]
    calls = [partial(way.denoise, noisy, given, 0) for way, given in zip(ways, conditionings, strict=True)]
    return shortest_times(calls, noisy.device, num_turns=6)
