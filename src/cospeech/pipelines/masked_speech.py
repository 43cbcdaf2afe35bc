"""Speech in the windows of a network that completes masked motion, cut as the published program cuts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from cospeech.audio import samples_to_frames_covering
from cospeech.models import emage_num_frames
from cospeech.models.emage_generation import AUDIO_RATE_HZ, FRAME_RATE_HZ, SAMPLES_PER_FRAME
from cospeech.samplers import plan_masked_windows

__all__ = ["MaskedClock", "MaskedSpeech"]


class MaskedSpeech(NamedTuple):
    """The speech of one window.

    Attributes:
        samples: ``(533 num_frames,)``, silence after the end of the clip.
        start: The window's first frame, counted from the start of the clip.
        num_frames: How many frames the window has.
        num_kept: How many of them, from the first on, are put out.
    """

    samples: Tensor
    start: int
    num_frames: int
    num_kept: int


class MaskedClock(NamedTuple):
    """Where windows lie.

    Attributes:
        window_frames: Frames of a full window.
        seed_frames: Frames that it shares with the one before.
        strict_upstream: Whether to drop what the published program drops: the last, unfinished frame, and up to
            ``2 * seed_frames`` frames before it.
    """

    window_frames: int
    seed_frames: int
    strict_upstream: bool

    def count(self, num_samples: int) -> int:
        """Frames of so many samples, before any are dropped."""
        if self.strict_upstream:
            return emage_num_frames(num_samples)
        return samples_to_frames_covering(num_samples, rate_hz=AUDIO_RATE_HZ, frame_rate_hz=FRAME_RATE_HZ)

    def num_frames(self, num_samples: int) -> int:
        """Frames that are put out for so many samples.

        Raises:
            ValueError: If the published program would refuse so few.
        """
        if not self.strict_upstream:
            return self.count(num_samples)
        plan = plan_masked_windows(self.count(num_samples), self.window_frames, self.seed_frames, strict_upstream=True)
        return sum(window.num_kept for window in plan)

    def windows(self, blocks: Iterable[Tensor]) -> Iterator[MaskedSpeech]:
        """Cut speech into windows, each as soon as it is known how many of its frames count.

        Args:
            blocks: Consecutive samples at 16 kHz, ``(S,)`` each.

        Example:
            >>> clock = MaskedClock(window_frames=64, seed_frames=4, strict_upstream=False)
            >>> [window[1:] for window in clock.windows([torch.ones(30000), torch.ones(5000)])]
            [(0, 64, 60), (60, 6, 6)]
        """
        size, hop = self.window_frames, self.window_frames - self.seed_frames
        held, start = torch.empty(0), 0  # `held` begins with the first sample of frame `start`
        for block in blocks:
            held = torch.cat([held, block])
            while self._left(held, start) > size:
                yield MaskedSpeech(held[: SAMPLES_PER_FRAME * size], start, size, hop)
                held, start = held[SAMPLES_PER_FRAME * hop :], start + hop
        left = self._left(held, start)
        if self.strict_upstream and start and left <= 2 * self.seed_frames:
            return
        # A clip must be longer than the seed; what is added is silence, and its frames are not kept.
        length = left if self.strict_upstream else max(left, self.seed_frames + 1)
        (window,) = plan_masked_windows(length, size, self.seed_frames, strict_upstream=self.strict_upstream)
        num_samples = SAMPLES_PER_FRAME * window.num_frames
        samples = pad(held[:num_samples], (0, max(0, num_samples - len(held))))
        yield MaskedSpeech(samples, start, window.num_frames, min(window.num_kept, left))

    def _left(self, held: Tensor, start: int) -> int:
        return self.count(SAMPLES_PER_FRAME * start + len(held)) - start
