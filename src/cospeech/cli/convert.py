"""``cospeech convert``: published checkpoints to our format and back."""

from __future__ import annotations

import argparse

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech convert emage my-emage                          a pipeline for load_pipeline("my-emage")
  cospeech convert my-emage emage_audio --to published     and back, bit for bit
  cospeech convert fgd_best.tar my-diffsheg                one network, for cospeech.hub.load_model
  cospeech convert my-diffsheg fgd_best.tar --to published
  cospeech convert lxxiao/MotionStreamer my-streamer       every network of a repository

Which network a file holds is told by its keys. Each published key is used exactly once; what is missing, unexpected or
misshapen is listed, and nothing is written then.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``convert`` to the command line."""
    parser = commands.add_parser(
        "convert",
        help="published checkpoints to cospeech's format and back",
        description="Convert the published checkpoints of every system, bit for bit.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", help="a file, a folder, a name (cospeech models), or a Hub repository")
    parser.add_argument("target", metavar="DST", help="the folder to write; one published network is a file")
    parser.add_argument("--to", choices=("cospeech", "published"), default="cospeech", help="default: %(default)s")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, printing what was written."""
    # Imported here so that --help and a wrong option answer at once.
    from cospeech.pipelines.conversion import convert_to_ours, convert_to_published

    if options.to == "cospeech":
        lines = convert_to_ours(options.source, options.target, revision=options.revision)
    else:
        lines = convert_to_published(options.source, options.target)
    for line in lines:
        print(line)
    return 0
