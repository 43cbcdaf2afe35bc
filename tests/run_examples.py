"""Run every example as a user would, at the small settings that its header names; or list them all.

    python tests/run_examples.py           # run, two at a time
    python tests/run_examples.py --index   # write docs/examples.md from the headers

An example's header says in one line what it shows, then ``Needs:``, ``Takes:`` and ``CI: <arguments>``; the word
``skip`` and a reason behind ``CI:`` leaves it out.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/examples.md"
BLOCKS = "Single blocks in your own code"
GROUPS = {  # by the first word of the file's name; all others are for BLOCKS
    "generate": "Each system",
    "stream": "Streams",
    "train": "Training",
    "plot": "Training",
    "compare": "Measuring",
    "error": "Measuring",
    "evaluate": "Measuring",
    "window": "Measuring",
}


class Example(NamedTuple):
    """What an example's header says."""

    path: Path
    shows: str
    needs: str
    takes: str
    arguments: str


def read_examples() -> list[Example]:
    """All of them, by name.

    Raises:
        ValueError: Naming the example and the line that its header lacks.
    """
    return [_read(path) for path in sorted((ROOT / "examples").glob("*.py"))]


def group_of(path: Path) -> str:
    """The heading that an example stands below."""
    return GROUPS.get(path.stem.partition("_")[0], BLOCKS)


def index_page() -> str:
    """docs/examples.md."""
    groups: dict[str, list[Example]] = {name: [] for name in (BLOCKS, *GROUPS.values())}
    for example in read_examples():
        groups[group_of(example.path)].append(example)
    lines = [
        "# Examples",
        "",
        "Each stands alone: copy it, run it, change it. CI runs them all at small settings. Most are under 80 lines;",
        "the programs that train and judge whole systems have more, since each is a protocol that others can repeat.",
        "<!-- Written by `python tests/run_examples.py --index` from the headers of the examples. -->",
    ]
    for name, examples in groups.items():
        lines += ["", f"## {name}", ""]
        for path, shows, needs, takes, _ in examples:
            lines += [f"- **[{path.stem}](../examples/{path.name})**: {shows}", f"  *Needs* {needs} *Takes* {takes}"]
    return "\n".join([*lines, ""])


def run(example: Example) -> bool:
    """Run one; whether it did."""
    if example.arguments.startswith("skip"):
        print(f"{example.path.name}: {example.arguments}")
        return True
    start = time.perf_counter()
    command = [sys.executable, str(example.path), *example.arguments.split()]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # two run side by side
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    report = f"{example.path.name}: {'failed' if result.returncode else 'ran'} in {time.perf_counter() - start:.0f} s"
    print(report + ("\n" + result.stdout[-2000:] + result.stderr[-4000:] if result.returncode else ""), flush=True)
    return not result.returncode


def main() -> int:
    """Run them all; the exit code counts the failures."""
    if "--index" in sys.argv:
        PAGE.write_text(index_page())
        return 0
    with ThreadPoolExecutor(2) as pool:
        return sum(not ran for ran in pool.map(run, read_examples()))


def _read(path: Path) -> Example:
    header = ast.get_docstring(ast.parse(path.read_text())) or ""
    fields = []
    for name in ("Needs", "Takes", "CI"):
        found = re.search(rf"^{name}:[ \t]*(.*)$", header, re.M)
        if found is None:
            raise ValueError(f"{path.name}: its header needs a line '{name}: ...'.")
        fields.append(found[1].strip())
    return Example(path, header.partition("\n")[0], *fields)


if __name__ == "__main__":
    sys.exit(main())
