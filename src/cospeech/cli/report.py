"""One line to standard error, one exit code."""

from __future__ import annotations

import sys

__all__ = ["complain"]


def complain(what: object, code: int) -> int:
    """Write ``what`` on one line and hand the exit code back."""
    print("cospeech: " + " ".join(str(what).split()), file=sys.stderr)
    return code
