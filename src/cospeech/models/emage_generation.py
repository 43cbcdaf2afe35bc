"""Speech of any length to EMAGE's codes, window by window.

A window depends on the one before by its last decoded frames alone: that is all the state there is. Everything here
works on batches of clips of equal length.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from cospeech._checks import check_shape
from cospeech.models.emage import EmageHeard, EmageOutput, EmageTransformer
from cospeech.models.emage_codec import EmageMotionCodec, EmageParts, unturned_rot6d
from cospeech.samplers import MaskedWindow, plan_masked_windows, seed_masked_window

__all__ = ["EmageGenerator", "EmageWindow", "blank_emage_hints", "emage_num_frames"]

AUDIO_RATE_HZ, FRAME_RATE_HZ = 16000, 30
# The published clock: windows are cut at whole samples per frame, so the audio that is read lags by a third of a sample
# with every frame (21 ms after 1000 frames), in training too.
SAMPLES_PER_FRAME = AUDIO_RATE_HZ // FRAME_RATE_HZ


def emage_num_frames(num_samples: int) -> int:
    """How many frames of motion so many samples of audio last.

    Example:
        >>> emage_num_frames(16000), emage_num_frames(4799)
        (30, 8)
    """
    return num_samples * FRAME_RATE_HZ // AUDIO_RATE_HZ


class EmageWindow(NamedTuple):
    """A window's frames that count.

    Attributes:
        output: What the transformer says.
        indices: Codes of each part that is not absent, ``(B, T)``.
    """

    output: EmageOutput
    indices: EmageParts


class EmageGenerator:
    """The transformer, and the codec that its windows are fed back through.

    Args:
        transformer: Speech and hints to codes.
        codec: Codes to motion.
    """

    def __init__(self, transformer: EmageTransformer, codec: EmageMotionCodec):
        self.transformer, self.codec = transformer, codec

    def generate(
        self,
        audio: Tensor,
        motion: Tensor,
        mask: Tensor,
        speaker: Tensor,
        *,
        strict_upstream: bool = False,
        lookahead: int = 8,
    ) -> Iterator[EmageWindow]:
        """Complete whole clips, one window at a time.

        Args:
            audio: Waveforms at 16 kHz, ``(B, S)``.
            motion: Hints, ``(B, T, motion_dim)``, ``T`` being ``emage_num_frames(S)``; see ``blank_emage_hints``.
            mask: True (or 1) where motion is hidden, ``(B, T, motion_dim)``.
            speaker: Integers, ``(B,)``.
            strict_upstream: Whether to drop the frames at the end that the published program drops.
            lookahead: How many windows are heard at once. More is faster and needs more memory.

        Yields:
            The next frames.

        Raises:
            ValueError: If a shape does not fit, or the clip is too short.
        """
        config = self.transformer.config
        check_shape("audio", audio, f"{len(motion)} S")
        check_shape("motion", motion, f"B {emage_num_frames(audio.shape[1])} {config.motion_dim}")
        check_shape("mask", mask, " ".join(map(str, motion.shape)))
        plan = plan_masked_windows(
            motion.shape[1], config.window_frames, config.seed_frames, strict_upstream=strict_upstream
        )
        state = self.init_state(motion)
        for window, heard in self._hear(audio, plan, lookahead):
            frames = slice(window.start, window.start + window.num_frames)
            result, state = self.step(heard, motion[:, frames], mask[:, frames], speaker, state)
            yield _first_frames(result, window.num_kept)

    def init_state(self, motion: Tensor) -> Tensor:
        """The seed of the first window, ``(B, P, motion_dim)``: how hints begin, hidden or not."""
        return motion[:, : self.transformer.config.seed_frames]

    def step(
        self, heard: EmageHeard, motion: Tensor, mask: Tensor, speaker: Tensor, state: Tensor
    ) -> tuple[EmageWindow, Tensor]:
        """Complete one window; arguments as for ``EmageTransformer.complete``.

        Returns:
            All frames of the window, and the state that follows it.
        """
        motion, mask = seed_masked_window(motion, mask, state)
        output: EmageOutput = self.transformer.complete(heard, motion, mask, speaker)
        indices = self.choose(output)
        return EmageWindow(output, indices), self.codec.decode_tail(indices, state.shape[1]).features

    def choose(self, output: EmageOutput) -> EmageParts:
        """The codes ``(B, T)`` of each part: the likeliest, or those nearest to its latents, as configured."""
        config = self.transformer.config
        indices = {part: getattr(output.logits, part).argmax(-1) for part in config.code_parts}
        latents = {part: getattr(output.latents, part) for part in config.latent_parts}
        return self.codec.indices(EmageParts(**indices, **latents))

    def _hear(
        self, audio: Tensor, plan: list[MaskedWindow], lookahead: int
    ) -> Iterator[tuple[MaskedWindow, EmageHeard]]:
        """Each window with its speech, several windows of equal length heard at once."""
        for _, group in groupby(enumerate(plan), key=lambda item: (item[1].num_frames, item[0] // lookahead)):
            windows = [window for _, window in group]
            cuts = [
                audio[:, SAMPLES_PER_FRAME * window.start :][:, : SAMPLES_PER_FRAME * window.num_frames]
                for window in windows
            ]
            heard = self.transformer.hear(torch.cat(cuts))
            for i, window in enumerate(windows):
                yield window, heard.rows(slice(i * len(audio), (i + 1) * len(audio)))


def blank_emage_hints(num_clips: int, num_frames: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Motion and mask that show nothing: unturned joints at the origin, without contact, all of it hidden.

    Args:
        num_clips: ``B``.
        num_frames: ``T``.
        like: Tells dtype and device.

    Returns:
        Motion ``(B, T, 337)`` and a mask of True.
    """
    pose = torch.cat([unturned_rot6d().flatten(), torch.zeros(7)]).to(like)
    motion = pose.repeat(num_clips, num_frames, 1)
    return motion, torch.ones_like(motion, dtype=torch.bool)


def _first_frames(window: EmageWindow, count: int) -> EmageWindow:
    def cut(parts: EmageParts) -> EmageParts:
        return parts.map(lambda _, x: x[:, :count])

    return EmageWindow(EmageOutput(*map(cut, window.output)), cut(window.indices))
