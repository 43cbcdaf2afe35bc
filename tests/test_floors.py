"""A folder imports only from floors below its own, so data flows one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cospeech

ROOT = Path(cospeech.__file__).parent

FLOORS = [
    {"errors"},
    {"_checks", "_extras"},
    {"rotations", "nn", "schedulers", "audio", "text"},
    {"skeleton", "samplers"},
    {"io"},  # motion files to tensors and back: knows skeletons, not Motion
    {"motion", "models", "losses", "metrics"},
    {"representations", "body", "hub"},
    {"pipelines", "data", "viz"},
    {"evaluation", "training"},
    {"cli"},
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def imported_folders(page: Path) -> set[str]:
    """The parts of cospeech that a page names in any import, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(page.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{page}: relative import; write it out"
            if node.module == "cospeech":
                modules = [f"cospeech.{alias.name}" for alias in node.names]
            else:
                modules = [node.module or ""]
        else:
            continue
        found |= {module.split(".")[1] for module in modules if module.startswith("cospeech.")}
    return found


PAGES = sorted(page for page in ROOT.rglob("*.py") if page != ROOT / "__init__.py")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_imports_go_down(page: Path) -> None:
    own = page.relative_to(ROOT).parts[0].removesuffix(".py")
    assert own in FLOOR_OF, f"{own} has no floor yet: give it one here"
    for other in imported_folders(page) - {own} - {"__version__"}:
        assert FLOOR_OF[other] < FLOOR_OF[own], f"{own} must not import {other}, which is not below it"
