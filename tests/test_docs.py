"""What README and docs show is true: snippets run, relative links lead somewhere, the list of examples is complete."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_EXAMPLES = runpy.run_path(str(ROOT / "tests/run_examples.py"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def snippets(page: Path) -> str:
    """The page's ```python blocks as one program whose line numbers are those of the page."""
    lines = page.read_text().splitlines()
    inside, program = False, []
    for line in lines:
        if line.startswith("```"):
            inside = not inside and line.strip() == "```python"
            program.append("")
        else:
            program.append(line if inside else "")
    return "\n".join(program)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = snippets(page)
    if not program.strip():
        pytest.skip("no Python on this page")
    shutil.copy(ROOT / "src/cospeech/assets/speech.wav", tmp_path / "speech.wav")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_examples_are_listed_as_their_headers_say() -> None:
    written = (ROOT / "docs/examples.md").read_text()
    assert written == RUN_EXAMPLES["index_page"](), "run `python tests/run_examples.py --index`"


def test_examples_are_short_save_those_that_are_whole_protocols() -> None:
    for path in (ROOT / "examples").glob("*.py"):
        num_lines = len(path.read_text().splitlines())
        assert num_lines < 80 or RUN_EXAMPLES["group_of"](path) in ("Training", "Measuring"), (
            f"{path}: {num_lines} lines"
        )
