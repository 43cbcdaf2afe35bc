"""Model cards: a README with the Hub's front matter, saying what a model does, was trained on, scores and allows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cospeech.hub._writing import make_folder, replacing
from cospeech.hub.licences import Licence, Terms

__all__ = ["CARD_FILE", "MetricResult", "ModelCard", "save_card"]

CARD_FILE = "README.md"
_HUB_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "BSD-3-Clause": "bsd-3-clause"}


@dataclass(frozen=True)
class MetricResult:
    """A measured score.

    Attributes:
        name: Of the metric.
        value: The score.
        protocol: How it was measured, without which scores cannot be compared: data, split, program.
    """

    name: str
    value: float
    protocol: str


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What people must know of a model before they use it.

    Attributes:
        title: The heading.
        task: What it does, such as "speech to motion".
        inputs: What goes in.
        outputs: What comes out.
        rate_hz: Frames per second of the motion; None for a network that makes none.
        skeleton: Which joints; "" for a network that makes no motion.
        training_data: On what it was trained.
        terms: Licences.
        metrics: Scores with their protocols.
        citation: BibTeX, or "".
        usage: A line or two of Python.
        limits: What it cannot do.
    """

    title: str
    task: str
    inputs: str
    outputs: str
    training_data: str
    terms: Terms
    rate_hz: float | None = None
    skeleton: str = ""
    metrics: Sequence[MetricResult] = ()
    citation: str = ""
    usage: str = ""
    limits: str = ""
    tags: Sequence[str] = field(default=("co-speech-motion",))

    def render(self) -> str:
        """The card as Markdown.

        Example:
            >>> terms = Terms(*[Licence.spdx("MIT")] * 3)
            >>> card = ModelCard(title="X", task="t", inputs="i", outputs="o", training_data="d", terms=terms)
            >>> card.render().splitlines()[:4]
            ['---', 'library_name: cospeech', 'license: mit', 'tags: ["co-speech-motion"]']
        """
        sections = [self._front_matter(), f"# {_line(self.title)}", self._facts()]
        if self.usage:
            sections.append(f"## Use\n\n```python\n{self.usage.strip()}\n```")
        sections.append(self._scores())
        if self.limits:
            sections.append(f"## Limits\n\n{self.limits.strip()}")
        sections.append(self._licences())
        if self.citation:
            sections.append(f"## Citation\n\n```bibtex\n{self.citation.strip()}\n```")
        return "\n\n".join(sections) + "\n"

    def _front_matter(self) -> str:
        # JSON is YAML too, and needs no rules of our own for quotes and colons.
        name = self.terms.weights.name
        fields: dict[str, object] = {"library_name": "cospeech", "license": _HUB_LICENCES.get(name, "other")}
        if fields["license"] == "other":
            fields["license_name"] = _line(name)
        fields["tags"] = list(self.tags)
        lines = [f"{key}: {value if _is_plain(value) else json.dumps(value)}" for key, value in fields.items()]
        return "\n".join(["---", *lines, "---"])

    def _facts(self) -> str:
        rows = {"Task": self.task, "Inputs": self.inputs, "Outputs": self.outputs}
        if self.rate_hz is not None:
            rows["Frame rate"] = f"{self.rate_hz:g} Hz"
        if self.skeleton:
            rows["Skeleton"] = self.skeleton
        return _table(("", ""), [*rows.items(), ("Training data", self.training_data)])

    def _scores(self) -> str:
        if not self.metrics:
            return "## Scores\n\nNone were measured."
        rows = [(result.name, f"{result.value:g}", result.protocol) for result in self.metrics]
        return "## Scores\n\n" + _table(("Metric", "Value", "Protocol"), rows)

    def _licences(self) -> str:
        may = {True: "yes", False: "no", None: "not stated"}
        rows: list[tuple[str, ...]] = []
        parts: Mapping[str, Licence] = {
            "Code": self.terms.code,
            "Weights": self.terms.weights,
            "Training data": self.terms.data,
        }
        for what, licence in parts.items():
            rows.append((what, licence.name, may[licence.commercial], licence.source))
        return "## Licences\n\n" + _table(("", "Licence", "Commercial use", "Source"), rows)


def save_card(card: ModelCard, folder: Path) -> None:
    """Write the card into a model's folder.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    make_folder(folder)
    with replacing(folder / CARD_FILE) as path:
        path.write_text(card.render(), encoding="utf-8")


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and value.replace("-", "").replace(".", "").isalnum() and not value[0].isdigit()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
