"""``cospeech info``: what a motion, audio or checkpoint file holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from cospeech.cli.report import complain
from cospeech.errors import CospeechError

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech info talk.wav out/talk.npz out/talk.bvh
  cospeech info model.safetensors cospeech-tiny
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``info`` to the command line."""
    parser = commands.add_parser(
        "info",
        help="what a motion, audio or checkpoint file holds",
        description="Describe motion files (.npz, .bvh), audio files, checkpoints (.safetensors) and models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, a model folder, or a bundled model's name")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Describe every file; go on past those that cannot be read."""
    code = 0
    for name in options.files:
        try:
            facts = list(describe(name))
        except CospeechError as error:
            code = code or complain(error, 1)
            continue
        print(name)
        for label, value in facts:
            print(f"  {label:<12} {value}")
    return code


def describe(name: str) -> Iterator[tuple[str, str]]:
    """Label and value of every fact about a file, told by its suffix; anything else is taken for audio."""
    path = Path(name)
    if path.suffix in (".npz", ".bvh"):
        yield from describe_motion(path)
    elif path.suffix == ".safetensors":
        yield from describe_weights(path)
    elif path.is_dir() or not path.exists():
        yield from describe_model(name)
    else:
        yield from describe_audio(path)


def describe_motion(path: Path) -> Iterator[tuple[str, str]]:
    """Length, rate, joints and travel of a clip."""
    from cospeech.motion import Motion

    motion = Motion.load(path)
    low, high = motion.translation.aminmax(dim=0)
    yield "motion", f"{motion.num_frames} frames at {motion.rate_hz:g} Hz, {seconds(motion.duration_seconds)}"
    yield "skeleton", f"{motion.skeleton.num_joints} joints"
    yield "expressions", "none" if motion.expressions is None else f"{motion.expressions.shape[-1]} coefficients"
    ranges = zip("xyz", low.tolist(), high.tolist(), strict=True)
    yield "root", ", ".join(f"{axis} {a:.2f} to {b:.2f} m" for axis, a, b in ranges)


def describe_audio(path: Path) -> Iterator[tuple[str, str]]:
    """Format, rate and length of a sound file."""
    from cospeech.audio import audio_info

    info = audio_info(path)
    yield "audio", f"{info.format}, {info.rate_hz:g} Hz, {info.num_channels} channel{'s' * (info.num_channels > 1)}"
    yield "length", f"{info.num_samples} samples, {seconds(info.seconds)}"


def describe_weights(path: Path) -> Iterator[tuple[str, str]]:
    """How many tensors and numbers, in which precisions."""
    from cospeech.hub import load_tensors

    tensors = load_tensors(path)
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    yield (
        "weights",
        f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} numbers, {', '.join(kinds)}",
    )


def describe_model(name: str) -> Iterator[tuple[str, str]]:
    """What a pipeline does, and what its networks are."""
    from cospeech.pipelines import Pipeline, load_pipeline

    pipeline = load_pipeline(name)
    yield "pipeline", type(pipeline).__name__
    told = f"{pipeline.num_speakers} speakers" if isinstance(pipeline, Pipeline) else "from text"
    yield "motion", f"{pipeline.rate_hz:g} Hz, {told}"
    for part, module in vars(pipeline).items():
        if isinstance(module, nn.Module) and (count := sum(p.numel() for p in module.parameters())):
            yield part, f"{type(module).__name__}, {count:,} parameters"


def seconds(duration: float) -> str:
    """A duration as people write it.

    Example:
        >>> seconds(9.04), seconds(3725)
        ('9.04 s', '1:02:05')
    """
    if duration < 60:
        return f"{duration:.2f} s"
    minutes, rest = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
