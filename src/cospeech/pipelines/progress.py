"""A job of several clips: how far it is, a bar for people, a callback for programs; and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import TracebackType
from typing import Any

from typing_extensions import Self

from cospeech.motion import Motion
from cospeech.pipelines.pipeline import ProgressCallback

__all__ = ["Progress", "collect"]


class Progress:
    """Counts frames and tells whoever wants to know.

    Args:
        total_frames: Frames to do.
        bar: Whether to draw a bar on standard error; None draws one on a terminal only.
        callback: Called after each advance with the frames done and ``total_frames``.
    """

    def __init__(self, total_frames: int, *, bar: bool | None, callback: ProgressCallback | None):
        self.total_frames, self.done_frames = total_frames, 0
        self.callback = callback
        self._bar: Any = None
        if bar is not False:
            # huggingface-hub's bar is tqdm's, which core has anyway; it is slow to import, hence here.
            tqdm: Any = import_module("huggingface_hub.utils").tqdm
            disable = None if bar is None else False
            self._bar = tqdm(total=total_frames, unit=" frames", unit_scale=True, disable=disable, leave=False)

    def advance(self, num_frames: int) -> None:
        """Count frames that are done."""
        self.done_frames += num_frames
        if self._bar is not None:
            self._bar.update(num_frames)
        if self.callback is not None:
            self.callback(self.done_frames, self.total_frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def collect(
    pieces: Iterator[tuple[int, Motion]],
    num_clips: int,
    num_frames: int,
    *,
    progress: bool | None,
    callback: ProgressCallback | None,
) -> list[Motion]:
    """Each clip's pieces joined, as they come with the clip's number, ``num_frames`` in all."""
    found: list[list[Motion]] = [[] for _ in range(num_clips)]
    with Progress(num_frames, bar=progress, callback=callback) as counter:
        for number, piece in pieces:
            found[number].append(piece)
            counter.advance(piece.num_frames)
    return [Motion.concatenate(motions) for motions in found]
