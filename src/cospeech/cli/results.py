"""Motion files that a command writes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cospeech.motion import Motion

__all__ = ["save_motion"]


def save_motion(motion: Motion, stem: str, options: argparse.Namespace, *, audio: Path | None = None) -> None:
    """Write every format that was asked for to ``options.out``, and name the files unless told to be quiet."""
    for suffix in options.format:
        target = options.out / f"{stem}.{suffix}"
        if suffix == "html":
            from cospeech.viz import save_html

            save_html(motion, target, audio=audio, title=stem)
        else:
            motion.save(target)
        if not options.quiet:
            print(target)
