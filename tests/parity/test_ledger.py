"""docs/parity.md is the ledger that the command writes: every case of the folder stands in it, and passes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "parity.md"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"cospeech_tests_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLAIMS, LEDGER = load("test_every_case_is_run"), load("write_ledger")


@pytest.mark.skipif(not CLAIMS.CASES, reason=f"no parity cases in {CLAIMS.FOLDER}")
def test_every_case_stands_in_the_ledger() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", PAGE.read_text(), flags=re.M))
    assert rows.keys() >= set(CLAIMS.CASES), "run python tests/parity/write_ledger.py"
    assert set(rows.values()) == {"passes"}


def test_the_nearest_comparison_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = LEDGER.Ledger()
    monkeypatch.setattr(LEDGER, "ledger", ledger)
    ledger.case = "emage_x"
    LEDGER.note_assert_close(torch.tensor([1.0, 100.0]), torch.tensor([1.001, 100.02]), rtol=1e-3, atol=1e-2)
    LEDGER.note_assert_close(torch.tensor(1.0), torch.tensor(1.0))
    assert LEDGER.note_equal(torch.ones(2), torch.ones(2))
    assert LEDGER.NotedApprox(2.0, abs=0.5) == 2.25
    assert not LEDGER.note_equal(torch.ones(2), torch.zeros(2))
    with pytest.raises(AssertionError):
        LEDGER.note_assert_close(torch.tensor(1.0), torch.tensor(2.0))
    noted = {"tests": ["test_x"], "outcomes": ["passed"], "comparisons": ledger.entries["emage_x"]}
    assert LEDGER.row("emage_x", noted) == "| `emage_x` | passes | 3 | 1 | 2.5e-01 | 5.0e-01 | 0.50 | `test_x` |"


def test_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "parity.md"
    page.write_text(f"before\n{LEDGER.BEGIN}\nold\n{LEDGER.END}\nafter\n")
    noted = {"tests": ["test_x"], "outcomes": ["passed"], "comparisons": [(0.0, 0.0)]}
    LEDGER.write({"emage_x": noted, "metrics_y": noted}, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.index("### EMAGE") < text.index("### Metrics")
