"""``cospeech models``: which models are known by name, where they lie, what they take, who may use them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing the hub takes a second, which --help shall not wait for
    from cospeech.hub import Licence, Published

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech models                     all of them, a line each
  cospeech models emage diffsheg-beat  everything that is known about these
  cospeech models --commercial        those whose weights and data allow commercial use

A name goes wherever a model is asked for: cospeech generate --model emage, load_pipeline("emage").
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``models`` to the command line."""
    parser = commands.add_parser(
        "models",
        help="which models are known by name, with size, licence and needs",
        description="List the models that are known by name. Nothing is fetched.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="show everything about these")
    parser.add_argument("--commercial", action="store_true", help="only those that may be used commercially")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the list, or what is known of some."""
    from cospeech.hub import MODELS

    unknown = [name for name in options.names if name not in MODELS]
    if unknown:
        raise ValueError(f"unknown model {unknown[0]!r}; choose from {', '.join(MODELS)}")
    chosen = [MODELS[name] for name in options.names or MODELS]
    if options.commercial:
        chosen = [model for model in chosen if not model.terms.problems()]
    if options.names:
        for model in chosen:
            print("\n".join(describe(model)))
        return 0
    width = max((len(model.name) for model in chosen), default=0)
    for model in chosen:
        may = "commercial use" if not model.terms.problems() else "not for commerce"
        print(f"{model.name:<{width}}  {size(model):>8}  {may:<16}  {model.task}")
    return 0


def describe(model: Published) -> list[str]:
    """Everything that is known of a model, a line each."""
    from cospeech.hub.registry import ALIASES

    lines = [model.name, f"  task         {model.task}"]
    if model.repository is not None:
        account = model.repository.split("/")[0]
        moved = f" (also {ALIASES[account]}/{model.repository.split('/')[1]})" if account in ALIASES else ""
        lines.append(f"  repository   {model.repository}{moved}")
        pinned = model.revision or (f"main; looked at was {model.commit}" if model.commit else "main, not pinned")
        lines.append(f"  revision     {pinned}")
        lines.append(f"  SHA-256      {len(model.sha256) or 'none known'}")
    if model.elsewhere:
        lines.append(f"  note         {model.elsewhere}")
    lines.append(f"  size         {size(model)}")
    lines += [f"  needs        {need}" for need in model.needs]
    for what, licence in (("code", model.terms.code), ("weights", model.terms.weights), ("data", model.terms.data)):
        lines.append(f"  {what:<12} {describe_licence(licence)}")
    return lines


def describe_licence(licence: Licence) -> str:
    """A licence in a line.

    Example:
        >>> from cospeech.hub import Licence
        >>> describe_licence(Licence.spdx("MIT", "LICENSE"))
        'MIT (commercial use: yes; LICENSE)'
    """
    may = {True: "yes", False: "no", None: "not stated"}[licence.commercial]
    return f"{licence.name} (commercial use: {may}{'; ' + licence.source if licence.source else ''})"


def size(model: Published) -> str:
    """How much is fetched.

    Example:
        >>> from cospeech.hub import MODELS
        >>> size(MODELS["cospeech-tiny"])
        '6 MB'
    """
    return "unknown" if model.megabytes is None else f"{model.megabytes} MB"
