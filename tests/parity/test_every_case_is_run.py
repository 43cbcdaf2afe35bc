"""No case is forgotten: each one in the folder is claimed by a test."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("COSPEECH_GOLDEN", HERE.parents[1].parent / "shared" / "golden"))

DATA = {"smplx_rest_joints", "diffsheg_beat_stats", "diffsheg_show_stats"}  # inputs of cases, not cases


def claimed_cases() -> set[str]:
    """Names given to ``@pytest.mark.case`` in this folder."""
    found = set()
    for page in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(page.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.case":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


CASES = sorted({path.stem for path in FOLDER.glob("*.safetensors")} - DATA)


@pytest.mark.skipif(not CASES, reason=f"no parity cases in {FOLDER}; set COSPEECH_GOLDEN to their folder")
@pytest.mark.parametrize("name", CASES)
def test_case_is_claimed(name: str) -> None:
    assert name in claimed_cases(), f"no test in {HERE.name} runs {name}: add @pytest.mark.case({name!r})"
