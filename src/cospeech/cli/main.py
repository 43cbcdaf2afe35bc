"""Arguments to a subcommand, errors to one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cospeech import __version__
from cospeech.cli import bench, convert, evaluate, generate, info, models, train
from cospeech.cli.report import complain
from cospeech.errors import CospeechError, MissingExtraError, ModelNotFoundError

__all__ = ["main"]

EPILOG = """\
exit codes:
  0  everything was done
  1  an input could not be used (the message says which and why)
  2  the command line was wrong (unknown option, speaker, model or format)
  3  an optional package is missing (the message names the extra)
  4  a result could not be written
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Words after the program's name; default those of the process.

    Returns:
        0 for success; see ``cospeech --help`` for the others.
    """
    parser = argparse.ArgumentParser(
        prog="cospeech",
        description="Speech in, holistic 3D human motion out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cospeech {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate.add_parser(commands)
    evaluate.add_parser(commands)
    info.add_parser(commands)
    bench.add_parser(commands)
    train.add_parser(commands)
    models.add_parser(commands)
    convert.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # `cospeech info ... | head`: the reader has left, and that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except MissingExtraError as error:
        return complain(error, 3)
    except (ValueError, ModelNotFoundError) as error:  # arguments that only the library can judge
        return complain(error, 2)
    except CospeechError as error:
        return complain(error, 1)
    except OSError as error:
        return complain(error, 4)
