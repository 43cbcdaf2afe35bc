"""EMAGE's networks on clips side by side: windows heard ahead, completed one after the other, decoded in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import Self

from cospeech.models import (
    EmageGenerator,
    EmageHeard,
    EmageMotionCodec,
    EmageParts,
    EmageStreamDecoder,
    EmageStreamState,
    EmageTransformer,
    StreamedMotion,
    blank_emage_hints,
    fold_emage,
    rhythm_signals,
)
from cospeech.models.emage_generation import FRAME_RATE_HZ
from cospeech.motion import Motion
from cospeech.nn import optimize
from cospeech.nn.optimization import Precision
from cospeech.pipelines.hints import GestureHints, HintChannels
from cospeech.pipelines.masked_speech import MaskedClock, MaskedSpeech

__all__ = ["EmageClip", "EmageRunner"]

LOOKAHEAD = 8
"""Windows of a clip that are heard together, and whose codes are decoded together."""


class _Heard(NamedTuple):
    """One window of one clip, a batch of one."""

    heard: EmageHeard
    motion: Tensor
    hidden: Tensor
    num_kept: int


@dataclass
class EmageClip:
    """A clip on its way: what is still to come of its speech, and what it remembers."""

    windows: Iterator[_Heard]
    speaker: int
    hints: GestureHints | None
    decoder: EmageStreamState
    decode_every: int
    fade: bool
    seed: Tensor | None = None
    tail: EmageParts | None = None
    pending: list[EmageParts] | None = None
    num_out: int = 0


class EmageRunner:
    """The networks in the form in which they run.

    Args:
        transformer: Folded, see ``fold_emage``, and possibly packed.
        codec: The motion networks, possibly packed.
    """

    def __init__(self, transformer: EmageTransformer, codec: EmageMotionCodec):
        self._transformer, self._codec = transformer, codec
        self._generator = EmageGenerator(transformer, codec)
        self._decoder = EmageStreamDecoder(codec, rate_hz=float(FRAME_RATE_HZ))
        self._fading_decoder = EmageStreamDecoder(codec, rate_hz=float(FRAME_RATE_HZ), between_codes=True)

    @classmethod
    def fold(cls, transformer: EmageTransformer, codec: EmageMotionCodec) -> Self:
        """Networks as they were trained."""
        return cls(fold_emage(transformer), codec)

    def optimize(self, *, precision: Precision, compiled: bool) -> Self:
        """See ``Pipeline.optimize``. Codes are decoded in full precision, so that they mean the same."""
        rows = self._transformer.config.window_frames
        return type(self)(
            optimize(self._transformer, precision=precision, rows=rows, compiled=compiled), optimize(self._codec)
        )

    def clip(
        self,
        clock: MaskedClock,
        blocks: Iterable[Tensor],
        speaker: int,
        hints: GestureHints | None,
        words: Tensor | None = None,
        fade_seams: bool = False,
        lookahead: int = LOOKAHEAD,
    ) -> EmageClip:
        """A clip that has not begun.

        Args:
            clock: Where its windows lie.
            blocks: Its samples, piece by piece.
            speaker: Counted from 1.
            hints: What is known of its motion.
            words: The vector of the word at each frame, ``(T, C)``, for networks that read.
            fade_seams: Whether the codes of a window's last frames fade into those that the next window says of them.
            lookahead: Windows that are heard, and decoded, together.
        """
        like = self._transformer.mask_embedding
        start = like.new_zeros(1, 3)
        if hints is not None and bool(hints.visible[0, 0]):
            start = hints.motion.translation[:1].to(start)
        windows = self._hear(clock.windows(blocks), hints, words, lookahead)
        return EmageClip(windows, speaker - 1, hints, self._decoder.init_state(start), lookahead, fade_seams)

    @torch.no_grad()
    def run(self, clips: Sequence[EmageClip]) -> Iterator[tuple[int, Motion]]:
        """Complete the clips side by side, window by window; yield the number of a clip and its next frames.

        Windows of equal length run as one batch; a clip that has come to its end leaves it.
        """
        active = list(range(len(clips)))
        while active:
            found = [(number, next(clips[number].windows, None)) for number in active]
            waiting = [(number, window) for number, window in found if window is not None]
            for number in sorted(set(active) - {number for number, _ in waiting}):
                yield from ((number, piece) for piece in self._finish(clips[number]))
            active = [number for number, _ in waiting]
            waiting.sort(key=lambda item: item[1].motion.shape[1])
            for _, same in groupby(waiting, key=lambda item: item[1].motion.shape[1]):
                group = list(same)
                self._complete([clips[number] for number, _ in group], [window for _, window in group])
            for number in active:
                yield from ((number, piece) for piece in self._decode(clips[number]))

    @torch.no_grad()
    def _hear(
        self, windows: Iterator[MaskedSpeech], hints: GestureHints | None, words: Tensor | None, lookahead: int
    ) -> Iterator[_Heard]:
        """A clip's windows with what is heard and known of them, several windows at once."""
        like = self._transformer.mask_embedding
        channels = None if hints is None else hints.channels()
        while batch := list(islice(windows, lookahead)):
            for num_frames, same in groupby(batch, key=lambda window: window.num_frames):
                group = list(same)
                samples = torch.stack([window.samples for window in group]).to(like)
                if words is None:
                    heard = self._transformer.hear(samples)
                else:
                    read = [_cut(words, window.start, num_frames) for window in group]
                    heard = self._transformer.hear(rhythm_signals(samples), torch.stack(read).to(like))
                for i, window in enumerate(group):
                    known = _known(channels, window.start, num_frames, like)
                    yield _Heard(heard.rows(slice(i, i + 1)), known.motion[None], known.hidden[None], window.num_kept)

    def _complete(self, clips: Sequence[EmageClip], windows: Sequence[_Heard]) -> None:
        """Run one window of each clip."""
        motion = torch.cat([window.motion for window in windows])
        hidden = torch.cat([window.hidden for window in windows])
        first = self._generator.init_state(motion)
        seed = torch.cat([first[[i]] if clip.seed is None else clip.seed for i, clip in enumerate(clips)])
        speaker = torch.tensor([clip.speaker for clip in clips], device=motion.device)
        heard = EmageHeard.join([window.heard for window in windows])
        result, state = self._generator.step(heard, motion, hidden, speaker, seed)
        for i, (clip, window) in enumerate(zip(clips, windows, strict=True)):
            clip.seed = state[[i]]
            codes = EmageParts(*(None if x is None else x[[i]] for x in result.indices))
            if clip.fade:
                codes = self._codec.lookup(codes)
                codes, clip.tail = _fade(clip.tail, codes), _frames(codes, -state.shape[1], None)
            clip.pending = [*(clip.pending or []), _frames(codes, 0, window.num_kept)]

    def _decode(self, clip: EmageClip) -> Iterator[Motion]:
        """The motion of codes that wait, once there are enough to be worth it."""
        if clip.pending is not None and len(clip.pending) >= clip.decode_every:
            streamed, clip.decoder = self._decoder_of(clip).step(_join(clip.pending), clip.decoder)
            clip.pending = None
            yield from self._piece(streamed, clip)

    def _finish(self, clip: EmageClip) -> Iterator[Motion]:
        clip.decode_every = 0
        yield from self._decode(clip)
        yield from self._piece(self._decoder_of(clip).flush(clip.decoder), clip)

    def _decoder_of(self, clip: EmageClip) -> EmageStreamDecoder:
        return self._fading_decoder if clip.fade else self._decoder

    def _piece(self, streamed: StreamedMotion, clip: EmageClip) -> Iterator[Motion]:
        """The next frames of a clip, if there are any."""
        if not streamed.translation.shape[1]:
            return
        motion = Motion(
            local_axis_angle=streamed.decoded.axis_angle[0],
            translation=streamed.translation[0],
            expressions=streamed.decoded.expressions[0],
            rate_hz=float(FRAME_RATE_HZ),
        )
        if clip.hints is not None and clip.hints.exact:
            motion = clip.hints.paste(motion, clip.num_out)
        clip.num_out += motion.num_frames
        yield motion


def _known(channels: HintChannels | None, start: int, num_frames: int, like: Tensor) -> HintChannels:
    if channels is not None:
        return channels.window(start, num_frames, like=like)
    motion, hidden = blank_emage_hints(1, num_frames, like=like)
    return HintChannels(motion[0], hidden[0])


def _cut(words: Tensor, start: int, num_frames: int) -> Tensor:
    """Frames from ``start`` on; after the end nothing is said."""
    read = words[start : start + num_frames]
    return pad(read, (0, 0, 0, num_frames - len(read)))


def _frames(codes: EmageParts, first: int, last: int | None) -> EmageParts:
    return codes.map(lambda _, x: x[:, first:last])


def _fade(tail: EmageParts | None, codes: EmageParts) -> EmageParts:
    """A window's latents ``(1, T, C)``, beginning as the window before ended."""
    if tail is None:
        return codes

    def fade(part: str, new: Tensor) -> Tensor:
        old = getattr(tail, part)[:, : new.shape[1]]
        count = old.shape[1]
        weights = torch.arange(1, count + 1, device=new.device, dtype=new.dtype)[:, None] / (count + 1)
        return torch.cat([torch.lerp(old, new[:, :count], weights), new[:, count:]], dim=1)

    return codes.map(fade)


def _join(pieces: Sequence[EmageParts]) -> EmageParts:
    columns = zip(*pieces, strict=True)
    return EmageParts(*(None if column[0] is None else torch.cat(column, dim=1) for column in columns))
