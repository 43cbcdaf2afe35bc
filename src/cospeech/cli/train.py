"""``cospeech train``: a recipe to a trained model; ``cospeech prepare``: its data alone."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  cospeech train examples/recipes/small/tae.toml                         two minutes on a CPU
  cospeech train recipe.toml run.batch_size=32 task.model.hidden_dim=64   fields changed by their dotted names
  cospeech train recipe.toml --dry-run                                   parameters, memory and time; trains nothing
  torchrun --nproc-per-node 4 -m cospeech.cli train recipe.toml          four processes; so does accelerate launch

A run is a folder, run.folder. Started again, it goes on from its newest whole checkpoint.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``train`` and ``prepare`` to the command line."""
    for name, purpose, call in (
        ("train", "a recipe to a trained model", run),
        ("prepare", "the data of a recipe, without training", run_prepare),
    ):
        parser = commands.add_parser(
            name,
            help=purpose,
            description="Train what a recipe (TOML) says." if name == "train" else "Prepare the data of a recipe.",
            epilog=EPILOG if name == "train" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("recipe", type=Path, help="a recipe, such as those in examples/recipes")
        parser.add_argument("changes", nargs="*", metavar="FIELD=VALUE", help="fields to change, by dotted names")
        if name == "train":
            parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
        parser.set_defaults(run=call)


def run(options: argparse.Namespace) -> int:
    """Train the recipe, or each of its stages in turn."""
    # Imported here so that --help and a wrong option answer at once.
    from cospeech.training.plan import plan_training
    from cospeech.training.recipes import load_recipes, run_recipe

    recipes = load_recipes(options.recipe, options.changes)
    if options.dry_run:
        for recipe in recipes if int(os.environ.get("RANK", "0")) == 0 else ():
            print(plan_training(recipe, num_processes=int(os.environ.get("WORLD_SIZE", "1"))))
        return 0
    for recipe in recipes:
        run_recipe(recipe)
        if int(os.environ.get("RANK", "0")) == 0:
            print(Path(recipe.run.folder) / "model")
    _end_processes()
    return 0


def run_prepare(options: argparse.Namespace) -> int:
    """Make what is missing of each stage's data, once."""
    from cospeech.training.recipes import load_recipes, prepare_data

    for line in prepare_data(load_recipes(options.recipe, options.changes)):
        print(line)
    return 0


def _end_processes() -> None:
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
