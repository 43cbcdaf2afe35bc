"""Run every parity case and write what came of it into docs/parity.md: comparisons, largest error, its tolerance.

nice python tests/parity/write_ledger.py      # some minutes

As a plugin of pytest (``-p write_ledger``) this page notes each comparison that a test makes for its case: by
``torch.testing.assert_close``, ``torch.equal`` or ``pytest.approx``. A comparison's error is taken where it comes
closest to its tolerance.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "parity.md"
BEGIN, END = "<!-- ledger: written by tests/parity/write_ledger.py -->", "<!-- end of ledger -->"
REPORT = "COSPEECH_LEDGER"
SYSTEMS = {
    "emage": "EMAGE",
    "camn": "CaMN, DisCo",
    "disco": "CaMN, DisCo",
    "diffsheg": "DiffSHEG",
    "globaldiff": "GlobalDiff",
    "motionstreamer": "MotionStreamer",
    "metrics": "Metrics",
}


class Comparison(NamedTuple):
    """The element of a comparison that is nearest to its tolerance."""

    error: float
    tolerance: float

    @property
    def share(self) -> float:
        return self.error / self.tolerance if self.tolerance else float(self.error > 0)


class Ledger:
    """What the plugin notes while the tests run."""

    def __init__(self) -> None:
        self.case: str | None = None
        self.test = ""
        self.entries: dict[str, list[Comparison]] = defaultdict(list)
        self.tests: dict[str, set[str]] = defaultdict(set)
        self.outcomes: dict[str, set[str]] = defaultdict(set)

    def note(self, error: float, tolerance: float) -> None:
        if self.case is not None:
            self.entries[self.case].append(Comparison(error, tolerance))


ledger = Ledger()
_assert_close, _equal, _approx = torch.testing.assert_close, torch.equal, pytest.approx
_DEFAULTS = {torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5), torch.float16: (1e-3, 1e-5)}


def note_assert_close(actual: Any, expected: Any, **options: Any) -> None:
    """``assert_close``, noted once it has passed."""
    _assert_close(actual, expected, **options)
    pairs = zip(actual, expected, strict=True) if isinstance(actual, (list, tuple)) else [(actual, expected)]
    for one, other in pairs:
        ours, theirs = (torch.as_tensor(each).detach() for each in (one, other))
        rtol, atol = options.get("rtol"), options.get("atol")
        if rtol is None or atol is None:
            kinds = [_DEFAULTS.get(each.dtype, (0.0, 0.0)) for each in (ours, theirs)]
            rtol, atol = (max(column) for column in zip(*kinds, strict=True))
        error = (ours.double() - theirs.double()).abs().flatten()
        allowed = (atol + rtol * theirs.double().abs()).flatten()
        if error.numel():
            share = torch.where(allowed > 0, error / allowed.clamp_min(1e-300), error).nan_to_num(0.0)
            place = int(share.argmax())
            ledger.note(float(error[place].nan_to_num(0.0)), float(allowed[place]))


def note_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """``torch.equal``, noted if it holds."""
    result = _equal(one, other)
    if result:
        ledger.note(0.0, 0.0)
    return result


class NotedApprox:
    """``pytest.approx``, noted when it is compared and holds."""

    def __init__(self, expected: Any, **options: Any):
        self.approx, self.expected = _approx(expected, **options), expected

    def __eq__(self, actual: object) -> bool:
        result = bool(self.approx == actual)
        if result and isinstance(actual, (int, float)) and isinstance(self.expected, (int, float)):
            ledger.note(abs(float(actual) - float(self.expected)), float(self.approx.tolerance))
        return result

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return repr(self.approx)


def pytest_configure(config: pytest.Config) -> None:
    """Stand in for the three before any test page imports them."""
    if REPORT in os.environ:
        torch.testing.assert_close, torch.equal = note_assert_close, note_equal
        pytest.approx = NotedApprox  # type: ignore[assignment,misc]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note for which case."""
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]
    ledger.case = None if case is None else str(case)
    if ledger.case is not None:
        ledger.tests[ledger.case].add(Path(item.fspath).stem)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how it went."""
    if ledger.case is not None and (report.when == "call" or report.outcome != "passed"):
        ledger.outcomes[ledger.case].add(report.outcome)


def pytest_sessionfinish() -> None:
    """Hand over what was noted."""
    if path := os.environ.get(REPORT):
        rows = {
            case: {
                "tests": sorted(ledger.tests[case]),
                "outcomes": sorted(ledger.outcomes[case]),
                "comparisons": ledger.entries[case],
            }
            for case in sorted(ledger.tests)
        }
        Path(path).write_text(json.dumps(rows))


def row(case: str, noted: dict[str, Any]) -> str:
    """A case's line of the table."""
    comparisons = [Comparison(*each) for each in noted["comparisons"]]
    exact = sum(each.tolerance == 0 for each in comparisons)
    loose = [each for each in comparisons if each.tolerance > 0]
    worst = max(loose, key=lambda each: each.share, default=None)
    state = "passes" if noted["outcomes"] == ["passed"] else ", ".join(noted["outcomes"])
    numbers = (
        ["-", "-", "-"] if worst is None else [f"{worst.error:.1e}", f"{worst.tolerance:.1e}", f"{worst.share:.2f}"]
    )
    pages = ", ".join(f"`{name}`" for name in noted["tests"])
    return f"| `{case}` | {state} | {len(loose)} | {exact} | {' | '.join(numbers)} | {pages} |"


def table(report: dict[str, dict[str, Any]]) -> str:
    """All cases, by system."""
    heads = (
        "| Case | | within a tolerance | exactly equal | error | tolerance | share | tests |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    parts = [
        "Each case with the number of comparisons that its tests make, and of the one nearest to its tolerance the\n"
        "error, the tolerance, and which share of it was used. A case without numbers is compared by other means,\n"
        "exactly or within a bound that stands in its test.",
    ]
    for title in dict.fromkeys(SYSTEMS.values()):
        rows = [row(case, noted) for case, noted in report.items() if SYSTEMS[case.split("_")[0]] == title]
        if rows:
            parts.append(f"### {title}\n\n" + "\n".join([heads, *rows]))
    return "\n\n".join(parts)


def write(report: dict[str, dict[str, Any]], page: Path = PAGE) -> None:
    """Put the table between the page's marks; the rest stays."""
    text = page.read_text()
    between = f"{BEGIN}\n\n{table(report)}\n\n{END}"
    if BEGIN not in text:
        raise ValueError(f"{page} has no line {BEGIN}.")
    page.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: between, text, flags=re.S))


def main() -> int:
    """Run the suite and write the page."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        environment = {**os.environ, REPORT: str(path), "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-m", "pytest", str(HERE), "-q", "-p", "write_ledger", "-p", "no:cacheprovider"]
        command.append(f"--ignore={HERE / 'test_ledger.py'}")  # which looks at the page that is being written
        code = subprocess.run(command, env=environment, cwd=HERE.parents[1], check=False).returncode
        if path.exists():  # a case that fails is written too: it must be seen
            write(json.loads(path.read_text()))
        return code


if __name__ == "__main__":
    sys.exit(main())
