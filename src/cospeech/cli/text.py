"""Texts in, motion files out: the part of ``cospeech generate`` that reads what shall be done."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cospeech.cli.results import save_motion

if TYPE_CHECKING:
    from cospeech.pipelines import MotionPipeline

__all__ = ["add_text_arguments", "generate_texts", "read_prompts"]


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand in place of audio."""
    group = parser.add_argument_group("from text, with a text model such as lxxiao/MotionStreamer")
    add = group.add_argument
    add("--text", action="append", metavar="TEXT", help="what shall be done; given again, the motion goes on with that")
    add("--prompts", type=Path, metavar="FILE", help="one text a line, each for a motion of its own")
    add("--seconds", type=float, help="how long each text lasts (default: the model says)")


def generate_texts(pipeline: MotionPipeline, options: argparse.Namespace) -> int:
    """Write every format of one motion that follows all of ``--text``, and of one for each line of ``--prompts``."""
    from cospeech.motion import Motion
    from cospeech.pipelines import MotionStreamerPipeline, TextPrompt

    if not isinstance(pipeline, MotionStreamerPipeline):
        raise ValueError(f"{options.model} takes speech; name a model that takes texts, such as lxxiao/MotionStreamer")
    lines = read_prompts(options.prompts) if options.prompts else []
    motions: dict[str, Motion] = {}
    if options.text:
        prompts = [TextPrompt(text, options.seconds) for text in options.text]
        motions[stem_of(options.text)] = Motion.concatenate(list(pipeline.stream(prompts, seed=options.seed)))
    if lines:
        seconds, seeds = [options.seconds] * len(lines), [options.seed] * len(lines)
        for i, motion in enumerate(pipeline.batch(lines, seconds=seconds, seeds=seeds)):
            motions[f"{i + 1:0{len(str(len(lines)))}}-{stem_of(lines[i : i + 1])}"] = motion
    options.out.mkdir(parents=True, exist_ok=True)
    for stem, motion in motions.items():
        save_motion(motion, stem, options)
    return 0


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that hold anything.

    Raises:
        ValueError: If it is no UTF-8 text, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{path} holds no text")
    return prompts


def stem_of(texts: Sequence[str]) -> str:
    """A file's name for texts.

    Example:
        >>> stem_of(["A person walks.", "Sits down"])
        'a-person-walks-sits-down'
    """
    words = re.findall(r"\w+", " ".join(texts).lower())
    return "-".join(words)[:60].rstrip("-") or "motion"
