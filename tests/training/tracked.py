"""Trainings that TensorBoard is told of, one after the other; processes are counted as torchrun does.

python tracked.py FOLDER ...
"""

from __future__ import annotations

import sys

import torch
import toy
from accelerate import PartialState

from cospeech.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in sys.argv[1:]:
        train(toy.Toy(), toy.run(folder, 10, 4, trackers=("tensorboard",)), toy.RULE, toy.SCHEDULE)
    PartialState().destroy_process_group()
