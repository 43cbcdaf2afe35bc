"""EMAGE's codes to motion piece by piece, with the same numbers as all at once and memory that does not grow.

A decoded frame depends on a few codes before and after it, where the body is on some more. So motion comes out a fixed
number of frames behind the codes, and the codes that are still needed are the state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.models.emage_codec import EmageDecoded, EmageMotionCodec, EmageParts

__all__ = ["EmageStreamDecoder", "EmageStreamState", "StreamedMotion"]


class StreamedMotion(NamedTuple):
    """The next frames: the decoded parts, and where the body is in metres, ``(B, T, 3)``."""

    decoded: EmageDecoded
    translation: Tensor


class EmageStreamState(NamedTuple):
    """What a stream of codes remembers.

    Attributes:
        indices: Codes that are still needed, None before the first.
        num_past: How many of them belong to frames that are already out.
        position: Where the next frame is, metres, ``(B, 3)``.
    """

    indices: EmageParts | None
    num_past: int
    position: Tensor


class EmageStreamDecoder:
    """Decodes codes as they come.

    Args:
        codec: The motion networks.
        rate_hz: Frames per second.
        between_codes: Whether to take latents ``(B, T, C)``, which may lie between codes, instead of indices.

    Attributes:
        delay_frames: How many frames the motion is behind the codes: 30 at the published sizes.
    """

    def __init__(self, codec: EmageMotionCodec, *, rate_hz: float = 30.0, between_codes: bool = False):
        self.codec, self.rate_hz = codec, rate_hz
        self._decode = codec.decode_between if between_codes else codec.decode
        reach = {part: codec.vqvae(part).decoder.reach for part in EmageParts._fields}
        self._global_reach = codec.global_motion.reach
        self.delay_frames = max(*reach.values(), reach["lower"] + self._global_reach)

    def init_state(self, start: Tensor) -> EmageStreamState:
        """Before the first code, the body being at ``start``, metres, ``(B, 3)``; its height is not used."""
        check_shape("start", start, "B 3")
        return EmageStreamState(None, 0, start)

    def step(self, indices: EmageParts, state: EmageStreamState) -> tuple[StreamedMotion, EmageStreamState]:
        """Take the next codes ``(B, T)`` of each part, the same parts at every step.

        Returns:
            The frames that can be told now, possibly none, and the state that follows.
        """
        known = indices if state.indices is None else _join(state.indices, indices)
        return self._advance(known, state, _num_frames(known) - self.delay_frames)

    def flush(self, state: EmageStreamState) -> StreamedMotion:
        """The frames after the last code.

        Raises:
            ValueError: If there was no code.
        """
        if state.indices is None:
            raise ValueError("`state` must have seen codes; this stream has just begun.")
        return self._advance(state.indices, state, _num_frames(state.indices))[0]

    def _advance(self, known: EmageParts, state: EmageStreamState, end: int) -> tuple[StreamedMotion, EmageStreamState]:
        """Put out the frames from ``state.num_past`` up to ``end``, counted in ``known``."""
        begin = state.num_past
        end = max(begin, end)
        decoded = self._decode(known)
        # The ends of `known` are no ends of the clip but where codes were cut off; what they reach is not looked at.
        first, last = max(0, begin - self._global_reach), end + self._global_reach
        travelled = self.codec.global_motion(decoded.lower[:, first:last])[:, begin - first : end - first]
        translated = self.codec.global_motion.integrate(travelled, state.position, rate_hz=self.rate_hz)
        frames = EmageDecoded(*(x[:, begin:end] for x in decoded))
        dropped = max(0, end - self.delay_frames)
        position = translated.following if end > begin else state.position
        following = EmageStreamState(known.map(lambda _, x: x[:, dropped:]), end - dropped, position)
        return StreamedMotion(frames, translated.translation), following


def _num_frames(indices: EmageParts) -> int:
    return next(x.shape[1] for x in indices if x is not None)


def _join(before: EmageParts, after: EmageParts) -> EmageParts:
    if [x is None for x in before] != [x is None for x in after]:
        raise ValueError("`indices` must hold the same parts at every step of a stream.")
    return EmageParts(
        *(None if x is None or y is None else torch.cat([x, y], 1) for x, y in zip(before, after, strict=True))
    )
