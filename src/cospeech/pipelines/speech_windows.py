"""Speech in windows of as many samples as a model's motion window spans, from blocks of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from cospeech.audio import frames_to_samples, samples_to_frames_covering

__all__ = ["SpeechWindow", "WindowClock"]


class SpeechWindow(NamedTuple):
    """One window of speech.

    Attributes:
        samples: ``(S,)``, silence after the end of the clip.
        num_frames: How many of the window's motion frames lie within the clip; all of them but in the last window.
        is_last: Whether the clip ends in this window.
    """

    samples: Tensor
    num_frames: int
    is_last: bool


class WindowClock(NamedTuple):
    """Where windows lie, in samples and in frames.

    Every window starts with a frame, so however long a clip is, windows do not drift against the motion.

    Attributes:
        rate_hz: Sampling rate of the speech.
        frame_rate_hz: Frames per second of the motion.
        window_frames: Frames of a window.
        overlap_frames: Frames that it shares with the next.
    """

    rate_hz: float
    frame_rate_hz: float
    window_frames: int
    overlap_frames: int

    def num_frames(self, num_samples: int) -> int:
        """Frames that cover so many samples, one at least."""
        return max(1, samples_to_frames_covering(num_samples, rate_hz=self.rate_hz, frame_rate_hz=self.frame_rate_hz))

    def windows(self, blocks: Iterable[Tensor]) -> Iterator[SpeechWindow]:
        """Cut speech into windows, each as soon as its samples are there.

        Args:
            blocks: Consecutive samples, ``(S,)`` each.

        Yields:
            As many windows as cover the clip, at least one.

        Example:
            >>> clock = WindowClock(rate_hz=16000, frame_rate_hz=30, window_frames=60, overlap_frames=8)
            >>> windows = clock.windows([torch.ones(40000), torch.ones(3000)])
            >>> [(len(window.samples), window.num_frames) for window in windows]
            [(32000, 60), (32000, 29)]
        """
        length = self._start(self.window_frames)
        first_frame = 0  # of the next window; `held` begins with its first sample
        held = torch.empty(0)
        for block in blocks:
            held = torch.cat([held, block])
            # A window goes out once a sample behind it has come: until then it may be the last.
            while self._start(first_frame) + len(held) > self._start(first_frame + self.window_frames):
                yield SpeechWindow(held[:length], self.window_frames, is_last=False)
                next_frame = first_frame + self.window_frames - self.overlap_frames
                held = held[self._start(next_frame) - self._start(first_frame) :]
                first_frame = next_frame
        num_frames = self.num_frames(self._start(first_frame) + len(held)) - first_frame
        held = held[:length]
        yield SpeechWindow(pad(held, (0, length - len(held))), num_frames, is_last=True)

    def _start(self, frame: int) -> int:
        return frames_to_samples(frame, rate_hz=self.rate_hz, frame_rate_hz=self.frame_rate_hz)
