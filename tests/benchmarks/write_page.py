"""Run every benchmark on this page's folder and write what they print to docs/benchmarks.md.

OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/write_page.py            # all: half an hour of a quiet machine
OMP_WAIT_POLICY=PASSIVE python tests/benchmarks/write_page.py rotations  # one; the other sections stay
"""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `python tests/benchmarks/write_page.py`. Contestants take turns in one process and medians are shown: quote
the ratios, since absolute times do not carry over to another machine, and a neighbour on this one disturbs them.
"""


def processor() -> str:
    """The processor's own name for itself."""
    facts = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*:\s*(.*)", facts.read_text()) if facts.exists() else None
    return name.group(1) if name else platform.processor()


def section(script: Path) -> str:
    """Heading, command, where it ran, and what the script printed."""
    title = (ast.get_docstring(ast.parse(script.read_text())) or script.stem).splitlines()[0]
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=HERE.parents[1])
    return (
        f"## {script.stem.removeprefix('bench_')}\n\n{title}\n\n"
        f"`python tests/benchmarks/{script.name}`, {processor()}, torch {torch.__version__}\n\n{run.stdout.strip()}\n"
    )


def main(chosen: list[str]) -> None:
    """Write the sections anew that are named, or all."""
    old = re.split(r"^(?=## )", PAGE.read_text(), flags=re.M)[1:] if PAGE.exists() else []
    sections = {text.split("\n", 1)[0]: text.strip() + "\n" for text in old}
    for script in sorted(HERE.glob("bench_*.py")):
        name = script.stem.removeprefix("bench_")
        if not chosen or name in chosen:
            print(f"{name} ...", flush=True)
            sections[f"## {name}"] = section(script)
            PAGE.write_text("\n".join([HEAD, *(sections[key] for key in sorted(sections))]))


if __name__ == "__main__":
    main(sys.argv[1:])
