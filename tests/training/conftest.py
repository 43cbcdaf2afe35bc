"""The toy training and its launcher are pages beside the tests, found here under their own names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
