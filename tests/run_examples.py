"""Run every example as a user would, at the small settings that its header names.

An example's header holds a line ``CI: <arguments>``; the word ``skip`` and a reason there leaves it out.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def main() -> int:
    """Run them all; the exit code counts the failures."""
    failures = 0
    for example in sorted(EXAMPLES.glob("*.py")):
        line = re.search(r"^CI:[ \t]*(.*)$", example.read_text(), re.M)
        if line is None:
            print(f"{example.name}: no line 'CI: <arguments>' in its header")
            failures += 1
            continue
        if line.group(1).startswith("skip"):
            print(f"{example.name}: {line.group(1)}")
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run(
                [sys.executable, str(example), *line.group(1).split()], cwd=folder, capture_output=True, text=True
            )
        failures += result.returncode != 0
        print(f"{example.name}: {'failed' if result.returncode else 'ran'} in {time.perf_counter() - start:.0f} s")
        if result.returncode:
            print(result.stdout[-2000:] + result.stderr[-4000:])
    return failures


if __name__ == "__main__":
    sys.exit(main())
