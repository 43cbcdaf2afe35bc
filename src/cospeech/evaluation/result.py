"""A result with everything that is needed to quote it, and several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from cospeech.evaluation.folders import Problem
from cospeech.evaluation.protocols import Protocol
from cospeech.evaluation.summary import AlignmentTest, Metric

__all__ = ["Evaluation", "comparison_table"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A result with everything that is needed to quote it.

    Attributes:
        label: What was evaluated.
        protocol: Which way.
        metrics: The numbers.
        omitted: Measures of the protocol that are missing, and why.
        alignment: Whether beat consistency told own audio from other audio; None without beats.
        clips: Names of the clips that were measured.
        problems: Clips that were not, and why.
        notes: About single clips.
        clips_hash: SHA-256 over names and contents of the reference clips: equal for equal test sets.
        extractor_hash: SHA-256 of the feature extractor's weights; None without.
        level: Of the intervals.
        floor: What the distances' reference column is.
        library_version: Of cospeech.
        per_clip: Values of single clips, by measure and clip.
        per_joint: Values of single joints, by measure and joint.
        spectrum: Power of acceleration in bands of 1 Hz, (m/s^2)^2: "hz" (lower ends), "generated", "reference"; empty
            where the protocol has no jitter.
    """

    label: str
    protocol: Protocol
    metrics: tuple[Metric, ...]
    omitted: dict[str, str]
    alignment: AlignmentTest | None
    clips: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    clips_hash: str
    extractor_hash: str | None
    level: float
    floor: str
    library_version: str
    per_clip: dict[str, dict[str, float]]
    per_joint: dict[str, dict[str, float]]
    spectrum: dict[str, list[float]]

    def __getitem__(self, name: str) -> Metric:
        """The metric of that name.

        Raises:
            KeyError: If it was not measured; the message says why.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(f"{name}: {self.omitted.get(name, 'no measure of this protocol')}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        content = asdict(replace(self, per_clip={}))  # not deep-copied value by value
        content["per_clip"] = self.per_clip
        content["clips"] = list(self.clips)
        if self.alignment is not None:
            content["alignment"]["tells_apart"] = self.alignment.tells_apart
            if self.alignment.low == float("-inf"):  # JSON knows no infinity
                content["alignment"]["low"] = None
        return content

    def to_json(self) -> str:
        """Everything as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A table and what it rests on, as Markdown."""
        percent = f"{100 * self.level:g} % interval"
        lines = [
            f"### {self.label}: protocol `{self.protocol.name}` v{self.protocol.version}",
            "",
            f"| measure | value | {percent} | reference | clips | note |",
            "|---|---|---|---|---|---|",
        ]
        for metric in self.metrics:
            interval = "" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
            other = "" if metric.reference is None else f"{metric.reference:.5g}"
            lines.append(
                f"| {metric.name} | {metric.value:.6g} | {interval} | {other} | {metric.num_clips} | {metric.note} |"
            )
        lines += ["", f"Reference: the recorded clips; for a distance, {self.floor}.", ""]
        lines += [f"- {name} not computed: {reason}" for name, reason in self.omitted.items()]
        if self.alignment is not None:
            lines.append(f"- Mismatched audio: {self.alignment}")
        lines += [f"- Left out: {problem}" for problem in self.problems]
        lines += [f"- {note}" for note in self.notes]
        extractor = self.extractor_hash[:12] if self.extractor_hash else "none"
        lines.append(
            f"- {len(self.clips)} clips (set {self.clips_hash[:12]}), extractor {extractor}, "
            f"cospeech {self.library_version}"
        )
        return "\n".join(lines) + "\n"

    def details_to_markdown(self) -> str:
        """Tables of single joints and of the spectrum, as Markdown; empty where the protocol has neither."""
        lines = []
        if self.per_joint:
            names = list(self.per_joint)
            joints = dict.fromkeys(joint for values in self.per_joint.values() for joint in values)
            lines += ["", f"#### {self.label}, joint by joint", "", "| joint | " + " | ".join(names) + " |"]
            lines.append("|---" * (len(names) + 1) + "|")
            for joint in joints:
                cells = [f"{self.per_joint[x][joint]:.4g}" if joint in self.per_joint[x] else "" for x in names]
                lines.append(f"| {joint} | " + " | ".join(cells) + " |")
        if self.spectrum:
            lines += ["", f"#### {self.label}, power of acceleration", "", "| Hz | generated | reference |"]
            lines.append("|---|---|---|")
            rows = zip(self.spectrum["hz"], self.spectrum["generated"], self.spectrum["reference"], strict=True)
            lines += [f"| {low:g} to {low + 1:g} | {ours:.4g} | {theirs:.4g} |" for low, ours, theirs in rows]
        return "\n".join(lines) + "\n" if lines else ""


def comparison_table(evaluations: Sequence[Evaluation]) -> str:
    """Several results by one protocol side by side, as a Markdown table with intervals.

    Raises:
        ValueError: If protocols or test sets differ, so that the numbers cannot stand in one table.
    """
    if not evaluations:
        raise ValueError("`evaluations` must hold one at least; got none.")
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.protocol != first.protocol or other.clips_hash != first.clips_hash:
            raise ValueError(f"{other.label} and {first.label} differ in protocol or clips; they do not compare.")
    names = [name for name in first.protocol.measures if any(m.name == name for e in evaluations for m in e.metrics)]
    lines = ["| measure | " + " | ".join(e.label for e in evaluations) + " |", "|---" * (len(evaluations) + 1) + "|"]
    for name in names:
        cells = [_cell(next((m for m in e.metrics if m.name == name), None)) for e in evaluations]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if any(e.alignment is not None for e in evaluations):
        gaps = [
            ""
            if e.alignment is None
            else f"{e.alignment.matched - e.alignment.mismatched:+.4f}"
            + ("" if e.alignment.tells_apart else " (cannot tell)")
            for e in evaluations
        ]
        lines.append("| own minus other audio | " + " | ".join(gaps) + " |")
    return "\n".join(lines) + "\n"


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    interval = "" if metric.low is None or metric.high is None else f" ({metric.low:.3g} to {metric.high:.3g})"
    return f"{metric.value:.4g}{interval}"
