"""DiffSHEG's denoiser for inference: the same numbers, its products written into memory that all steps share.

A window is denoised some dozens of times at one shape, with so few rows that a product is bound by reading its weights
and by what surrounds it. So the weights lie input by input, in the order in which few rows read them fastest; a
residual, a bias or the share of speech is where the product starts from, in place of a pass of its own; gains of a
normalisation are in the weights behind it; and every intermediate result has its place from the first step on.

Whether that is faster than packed layers (``cospeech.nn.optimize``) depends on the processor; ``optimize_diffsheg``
finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospeech.models.diffsheg import DiffSHEGConditioning, DiffSHEGDenoiser, DiffSHEGModulations
from cospeech.models.diffsheg_branch import BranchConditioning, FusionLayer, MotionBranch
from cospeech.models.diffsheg_config import DiffSHEGConfig
from cospeech.models.diffsheg_layers import FusionShare, LayerFilms, Moments, moments
from cospeech.nn import optimize
from cospeech.nn.optimization import Precision, shortest_times

__all__ = ["BufferedConditioning", "BufferedDiffSHEG", "DenoiseBuffers", "optimize_diffsheg"]


class DenoiseBuffers(NamedTuple):
    """Memory for one shape; a row is one frame of one clip. Nothing in it outlasts a call.

    Attributes:
        tokens: ``(R, C)``; with guidance first the rows that see the condition, then those that do not.
        told: Rows that see the condition, and behind their tokens the other branch's estimate, ``(R', C + E)``.
        fused: ``(R', fusion_dim)``.
        projected: Query, key, value, ``(3, R, C)``.
        read: What attention, and then the feed-forward part, says, ``(R, C)``.
        expanded: ``(R, feedforward_dim)``.
    """

    tokens: Tensor
    told: Tensor
    fused: Tensor
    projected: Tensor
    read: Tensor
    expanded: Tensor

    @classmethod
    def for_window(cls, config: DiffSHEGConfig, num_told: int, num_rows: int, like: Tensor) -> DenoiseBuffers:
        """Buffers for so many rows, of which so many see the condition."""
        dim = config.hidden_dim
        widest = dim + max(config.estimate_dim(branch) for branch in config.branches)
        return cls(
            tokens=like.new_empty(num_rows, dim),
            told=like.new_empty(num_told, widest),
            fused=like.new_empty(num_told, config.fusion_dim),
            projected=like.new_empty(3, num_rows, dim),
            read=like.new_empty(num_rows, dim),
            expanded=like.new_empty(num_rows, config.feedforward_dim),
        )


class BufferedConditioning(NamedTuple):
    """What ``DiffSHEGDenoiser.prepare`` made for a timestep, and the memory that all timesteps of a window share."""

    given: DiffSHEGConditioning
    buffers: DenoiseBuffers


class BufferedLayer(nn.Module):
    """A layer for inference. It copies the weights of the products, and changes tokens in place.

    Args:
        layer: The layer to stand in for.
    """

    fusion_in: Tensor
    fusion_out: Tensor
    query_key_value: Tensor
    attention_out: Tensor
    expand: Tensor
    contract: Tensor
    feedforward_out: Tensor

    def __init__(self, layer: FusionLayer):
        super().__init__()
        fusion, stylized = layer.fusion, layer.layer
        into = [fusion.motion_in.weight] + ([] if fusion.estimate_in is None else [fusion.estimate_in.weight])
        gain = torch.split(fusion.norm.weight, fusion.widths)
        gains = torch.cat([gain[0], gain[3]])  # of motion, and of the estimate, where there is one
        self.eps = fusion.norm.eps
        self.num_heads = stylized.attention.num_heads
        self.attention_norm = stylized.attention_norm
        self.attention_style, self.feedforward_style = stylized.attention_style, stylized.feedforward_style
        self.biases = nn.ParameterDict({
            "fusion_out": fusion.out.bias,
            "query_key_value": stylized.attention.query_key_value.bias,
            "attention_out": stylized.attention_style.out.bias,
            "expand": stylized.feedforward.expand.bias,
            "contract": stylized.feedforward.contract.bias,
            "feedforward_out": stylized.feedforward_style.out.bias,
        })  # fmt: skip
        weights = {
            "fusion_in": torch.cat(into, dim=1) * gains,
            "fusion_out": fusion.out.weight,
            "query_key_value": torch.stack(stylized.attention.query_key_value.weight.chunk(3)),
            "attention_out": stylized.attention_style.out.weight,
            "expand": stylized.feedforward.expand.weight,
            "contract": stylized.feedforward.contract.weight,
            "feedforward_out": stylized.feedforward_style.out.weight,
        }
        for name, weight in weights.items():
            self.register_buffer(name, weight.detach().mT.contiguous(), persistent=False)

    def fuse(self, buffers: DenoiseBuffers, share: FusionShare, context: Moments) -> None:
        """Add what speech says to the tokens."""
        tokens, hidden = buffers.tokens, buffers.fused
        num_told = len(hidden)
        told, width = tokens[:num_told], len(self.fusion_in)
        if width > tokens.shape[1]:
            buffers.told[:, : tokens.shape[1]].copy_(told)
            inputs = buffers.told
        else:
            inputs = told
        torch.addmm(share.speech.flatten(0, 1), inputs, self.fusion_in, out=hidden)
        # The moments that a layer norm works out anyhow: one call, where taking them apart is five.
        _, mean, deviation = torch.native_layer_norm(told, told.shape[1:], None, None, self.eps)
        whole = context.merge(Moments(mean, deviation.pow_(-2).sub_(self.eps), told.shape[1]))
        hidden.addcmul_(whole.mean, share.slope, value=-1)
        torch.addcmul(share.constant, hidden, (whole.variance + self.eps).rsqrt(), out=hidden)
        told.add_(self.biases["fusion_out"]).addmm_(F.silu(hidden, inplace=True), self.fusion_out)
        if len(tokens) > num_told:
            assert share.unconditional is not None
            tokens[num_told:].add_(share.unconditional)

    def attend(self, buffers: DenoiseBuffers, films: LayerFilms, num_clips: int) -> None:
        """Add what attention says to the tokens."""
        tokens, read = buffers.tokens, buffers.read
        normalized = self.attention_norm(tokens)
        # Three products and not one, since query, key and value are wanted in one piece each.
        biases = self.biases["query_key_value"].chunk(3)
        for bias, weight, projected in zip(biases, self.query_key_value, buffers.projected, strict=True):
            torch.addmm(bias, normalized, weight, out=projected)
        query, key, value = buffers.projected.view(3, num_clips, -1, self.num_heads, tokens.shape[1] // self.num_heads)
        query, key = query.softmax(-1), key.softmax(1)
        summaries = [torch.bmm(k.permute(1, 2, 0), v.transpose(0, 1)) for k, v in zip(key, value, strict=True)]
        for to, q, summary in zip(read.view_as(query), query, summaries, strict=True):
            to.transpose(0, 1).copy_(torch.bmm(q.transpose(0, 1), summary))
        styled = self.attention_style.style(read.view(num_clips, -1, tokens.shape[1]), films.attention)
        tokens.add_(self.biases["attention_out"]).addmm_(styled.flatten(0, 1), self.attention_out)

    def feed_forward(self, buffers: DenoiseBuffers, films: LayerFilms, num_clips: int) -> None:
        """Add what the feed-forward part says to the tokens."""
        tokens, read, expanded = buffers.tokens, buffers.read, buffers.expanded
        torch.addmm(self.biases["expand"], tokens, self.expand, out=expanded)
        torch.addmm(self.biases["contract"], torch.ops.aten.gelu_(expanded), self.contract, out=read)
        styled = self.feedforward_style.style(read.view(num_clips, -1, tokens.shape[1]), films.feedforward)
        tokens.add_(self.biases["feedforward_out"]).addmm_(styled.flatten(0, 1), self.feedforward_out)


class BufferedBranch(nn.Module):
    """A branch for inference.

    Args:
        branch: The branch to stand in for, with which it shares what is no product of a layer.
    """

    def __init__(self, branch: MotionBranch):
        super().__init__()
        self.motion_in, self.out = branch.motion_in, branch.out
        self.layers = nn.ModuleList(BufferedLayer(cast(FusionLayer, layer)) for layer in branch.layers)

    def forward(
        self,
        motion: Tensor,
        positions: Tensor,
        conditioning: BranchConditioning,
        buffers: DenoiseBuffers,
        estimate: Tensor | None,
        *,
        guidance_scale: float,
    ) -> Tensor:
        """The noise in ``motion``, ``(B, T, motion_dim)``."""
        rows, context = motion.shape[:2], conditioning.context
        if estimate is not None:
            context = context.merge(moments(estimate))
            buffers.told[:, buffers.tokens.shape[1] :] = estimate.flatten(0, 1)
        context = Moments(context.mean.flatten(0, 1), context.variance.flatten(0, 1), context.width)
        tokens = buffers.tokens.view(-1, *rows, buffers.tokens.shape[1])
        tokens[:] = self.motion_in(motion) + positions
        num_clips = len(buffers.tokens) // rows[1]
        for layer, (share, films) in zip(self.layers, conditioning.layers, strict=True):
            layer = cast(BufferedLayer, layer)
            layer.fuse(buffers, share, context)
            layer.attend(buffers, films, num_clips)
            layer.feed_forward(buffers, films, num_clips)
        noise: Tensor = self.out(tokens)
        return noise[0] if guidance_scale == 1 else torch.lerp(noise[1], noise[0], guidance_scale)


class BufferedDiffSHEG(nn.Module):
    """A denoiser for inference that gives what ``denoiser`` gives.

    It shares the weights of ``denoiser`` but for those of the layers' products, which it copies.

    Example:
        >>> config = DiffSHEGConfig(hidden_dim=16, num_layers=1, num_heads=2, feedforward_dim=16, fusion_dim=16,
        ...     condition_dim=32, audio_dim=8, mel_dim=8, speech_feature_dim=12, speech_dim=4)
        >>> denoiser = DiffSHEGDenoiser(config).eval()
        >>> buffered, noisy = BufferedDiffSHEG(denoiser), torch.randn(1, 34, 192)
        >>> given = torch.randn(1, 34, 8), torch.randn(1, 34, 12), torch.tensor([1]), torch.tensor([960, 920, 880])
        >>> noise = buffered.denoise(noisy, buffered.prepare(*given)[1])
        >>> torch.allclose(noise, denoiser.denoise(noisy, denoiser.prepare(*given)[1]), atol=1e-5)
        True
    """

    def __init__(self, denoiser: DiffSHEGDenoiser):
        super().__init__()
        self.denoiser = denoiser
        self.branches = nn.ModuleList(BufferedBranch(cast(MotionBranch, part)) for part in denoiser.branches.values())

    @property
    def config(self) -> DiffSHEGConfig:
        """The denoiser's configuration."""
        return self.denoiser.config

    @property
    def positions(self) -> Tensor:
        """The denoiser's table of positions."""
        return self.denoiser.positions

    def modulate(self, speaker: Tensor, timesteps: Tensor) -> list[DiffSHEGModulations]:
        """See ``DiffSHEGDenoiser.modulate``."""
        return self.denoiser.modulate(speaker, timesteps)

    def prepare(
        self,
        mel: Tensor,
        speech: Tensor,
        speaker: Tensor,
        timesteps: Tensor,
        *,
        modulations: Sequence[DiffSHEGModulations] | None = None,
        guidance_scale: float = 1.0,
    ) -> list[BufferedConditioning]:
        """See ``DiffSHEGDenoiser.prepare``; the results share memory, and are for one thread at a time."""
        given = self.denoiser.prepare(
            mel, speech, speaker, timesteps, modulations=modulations, guidance_scale=guidance_scale
        )
        num_told = mel.shape[0] * mel.shape[1]
        num_rows = num_told if guidance_scale == 1 else 2 * num_told
        buffers = DenoiseBuffers.for_window(self.config, num_told, num_rows, mel)
        return [BufferedConditioning(each, buffers) for each in given]

    @torch.no_grad()
    def denoise(self, noisy: Tensor, conditioning: BufferedConditioning) -> Tensor:
        """See ``DiffSHEGDenoiser.denoise``."""
        given, buffers = conditioning

        def run(index: int, motion: Tensor, positions: Tensor, estimate: Tensor | None) -> Tensor:
            noise: Tensor = self.branches[index](
                motion,
                positions,
                given.branches[index],
                buffers,
                estimate,
                guidance_scale=given.guidance_scale,
            )
            return noise

        return self.denoiser.run_branches(run, noisy, given.clean_weights)


def optimize_diffsheg(
    denoiser: DiffSHEGDenoiser,
    *,
    precision: Precision = "float32",
    num_frames: int = 34,
    guidance_scale: float = 1.0,
    compiled: bool = False,
) -> DiffSHEGDenoiser | BufferedDiffSHEG:
    """The denoiser the fastest way found on this machine: with optimized layers, or with buffers.

    Args:
        denoiser: Left as it is.
        precision: See ``cospeech.nn.optimize``.
        num_frames: Of a window.
        guidance_scale: With which it will be called.
        compiled: See ``cospeech.nn.optimize``.

    Note:
        The choice is made by measuring, so two runs may choose differently and then differ by rounding.
    """
    rows = num_frames if guidance_scale == 1 else 2 * num_frames
    layers = optimize(denoiser, precision=precision, rows=rows, compiled=compiled)
    ways: list[Any] = [layers, BufferedDiffSHEG(denoiser).eval()]
    like = denoiser.positions
    mel = like.new_zeros(1, num_frames, denoiser.config.mel_dim)
    speech = like.new_zeros(1, num_frames, denoiser.config.speech_feature_dim)
    noisy = like.new_zeros(1, num_frames, denoiser.config.motion_dim)
    first = torch.zeros(1, dtype=torch.long, device=like.device)
    with torch.inference_mode():
        calls = []
        for way in ways:
            (conditioning,) = way.prepare(mel, speech, first, first, guidance_scale=guidance_scale)
            calls.append(partial(way.denoise, noisy, conditioning))
        times = shortest_times(calls, like.device, num_turns=6)
    best: DiffSHEGDenoiser | BufferedDiffSHEG = ways[times.index(min(times))]
    return best
