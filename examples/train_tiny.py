"""Train the embedded model ``cospeech-tiny`` from nothing: corpus, speech model, denoiser, files.

    python examples/train_tiny.py                   # as cospeech train examples/recipes/tiny.toml
    python examples/train_tiny.py run.steps=100     # does it learn at all? Fields of the recipe by their dotted names
    python examples/train_tiny.py --dry-run         # what it will take on this machine

Three trainings by recipe: expressions from prosody, motion, and motion once more with feet that count more. Stopped
anywhere it goes on where it was. The corpus is procedural (``cospeech.data.synthetic``); half of its speech is spoken
by the program espeak-ng where that is installed. The model is in runs/tiny/settle/model;
``examples/evaluate_tiny.py`` measures it.

Needs: the extra train; where espeak-ng is installed half of the speech is its.
Takes: less than an hour of one CPU core.
CI: run.steps=2 task.clips=2 task.held_out_clips=1 task.prepare_workers=0
"""

from __future__ import annotations

import sys
from pathlib import Path

from cospeech.cli import main
from cospeech.data.synthetic.espeak import espeak_installed

RECIPE = Path(__file__).parent / "recipes" / "tiny.toml"

if __name__ == "__main__":
    if not espeak_installed():
        print("espeak-ng is not installed: all speech is synthetic, and real voices will be followed less well.")
    sys.exit(main(["train", str(RECIPE), *sys.argv[1:]]))
