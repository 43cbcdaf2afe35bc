"""``python -m cospeech.cli``: what ``torchrun -m`` and ``accelerate launch -m`` start."""

import sys

from cospeech.cli import main

sys.exit(main())
