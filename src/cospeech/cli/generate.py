"""``cospeech generate``: speech files or texts in, motion files out."""

from __future__ import annotations

import argparse
from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path

from cospeech.cli.report import complain
from cospeech.cli.results import save_motion
from cospeech.cli.text import add_text_arguments, generate_texts
from cospeech.errors import AudioError

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech generate --sample                           a bundled sentence, to see that everything works
  cospeech generate talk.wav                           writes out/talk.npz
  cospeech generate *.mp3 --out motion --format npz,bvh,html
  cospeech generate talk.wav --speaker 3 --seed 7      another body language, another take
  cospeech generate --model lxxiao/MotionStreamer --text "a person walks" --text "sits down"

formats:
  npz   SMPL-X parameters in the BEAT2 layout    bvh   skeleton animation for Blender, Maya, Unity
  html  one page that plays the skeleton in step with the audio, in any browser, without a network
"""

FORMATS = ("npz", "bvh", "html")


def formats(text: str) -> tuple[str, ...]:
    """The formats of a comma-separated list, in its order, each once."""
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [part for part in chosen if part not in FORMATS]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of formats; choose from {','.join(FORMATS)}")
    return chosen


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``generate`` to the command line."""
    parser = commands.add_parser(
        "generate",
        help="speech files or texts in, motion files out",
        description="Generate motion for speech files of any length from 0.1 s, or for texts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("audio", nargs="*", type=Path, help="speech files: WAV; with the extra `audio` also MP3, FLAC, OGG")
    add("--sample", action="store_true", help="use the speech sample that comes with the package")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="where results go (default: out)")
    add("--format", type=formats, default=("npz",), metavar="LIST", help="npz, bvh, html (default: npz)")
    add("--model", default="cospeech-tiny", help="bundled name, folder, or Hub repository (default: %(default)s)")
    add("--speaker", type=int, default=1, help="whose body language (default: %(default)s)")
    add("--seed", type=int, default=0, help="the same seed gives the same motion (default: %(default)s)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: %(default)s)")
    add("--quiet", action="store_true", help="no progress bar and no list of results")
    add_text_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Generate motion for every input; go on past those that cannot be used."""
    if options.text or options.prompts:
        if options.audio or options.sample:
            raise ValueError("audio and texts go to different models; give one of them")
        from cospeech.pipelines import load_pipeline

        return generate_texts(load_pipeline(options.model, device=options.device), options)
    if options.sample:
        with as_file(files("cospeech") / "assets" / "speech.wav") as sample:
            return generate([sample, *options.audio], options)
    if not options.audio:
        raise ValueError("no audio given; name speech files, or use --sample, or --text with a text model")
    return generate(options.audio, options)


def generate(sources: list[Path], options: argparse.Namespace) -> int:
    """Write every format of every source; the exit code is that of the first failure."""
    # Imported here so that --help and a wrong option answer at once.
    from cospeech.pipelines import Pipeline, load_pipeline

    twice = [stem for stem, count in Counter(source.stem for source in sources).items() if count > 1]
    if twice:
        raise ValueError(f"several inputs would be written as {twice[0]}.*; give each run its own --out")
    pipeline = load_pipeline(options.model, device=options.device)
    if not isinstance(pipeline, Pipeline):
        raise ValueError(f"{options.model} takes texts; use --text or --prompts")
    pipeline.check_speaker(options.speaker)
    options.out.mkdir(parents=True, exist_ok=True)
    code = 0
    for source in sources:
        try:
            motion = pipeline(
                source, speaker=options.speaker, seed=options.seed, progress=False if options.quiet else None
            )
        except AudioError as error:
            code = code or complain(error, 1)
            continue
        save_motion(motion, source.stem, options, audio=source)
    return code
