"""One call from folders to a result that can be quoted: numbers, intervals, and what they rest on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cospeech import __version__
from cospeech.errors import EvaluationError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.folders import ClipFiles, Problem, file_hash, find_clips, measure_folders
from cospeech.evaluation.protocols import Protocol, get_protocol
from cospeech.evaluation.summary import AlignmentTest, Metric, alignment_test, summarize
from cospeech.hub import load_published
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published
from cospeech.models import SkeletonAutoencoder

__all__ = ["Evaluation", "comparison_table", "evaluate_folders"]


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
        library_version: Of cospeech.
        per_clip: Values of single clips, by measure and clip.
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
    library_version: str
    per_clip: dict[str, dict[str, float]]

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
        content = asdict(replace(self, per_clip={}))
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
        lines += ["", "Reference: the recorded clips; for a distance, between random halves of them.", ""]
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


def evaluate_folders(
    generated: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    *,
    protocol: str | Protocol = "cospeech",
    audio: str | os.PathLike[str] | None = None,
    extractor: str | os.PathLike[str] | SkeletonAutoencoder | None = None,
    rest_joints: Tensor | None = None,
    hand_mean: Tensor | None = None,
    label: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    num_processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a folder of generated clips against a folder of recorded ones.

    Args:
        generated: Folder of ``.npz`` in the BEAT2 layout, as papers release them.
        reference: The recorded clips, of the same names.
        protocol: One of ``PROTOCOLS`` for BEAT2 data, or its name.
        audio: Folder of the clips' audio, for beat consistency.
        extractor: ``AESKConv_240_100.bin``, or the network, for FGD.
        rest_joints: Of the speaker's shape, ``(55, 3)`` metres; the mean of BEAT2's speakers by default.
        hand_mean: See ``gesture_positions``.
        label: What to call the result; the folder's name by default.
        on_error: "fail" to refuse if any clip is missing, unreadable, NaN, too short or wrongly sampled, naming each;
            "skip" to leave them out and name them in the result.
        num_resamples: For intervals; 0 for none.
        level: Of the intervals.
        seed: Of resamples.
        num_processes: In parallel.
        progress: Called with the clips done and all clips.

    Raises:
        EvaluationError: If clips have problems and ``on_error`` is "fail", or no clip is left.
        CheckpointError: If the extractor's weights do not fit.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if protocol.data != "beat2":
        raise ValueError(
            f"Protocol {protocol.name!r} is for {protocol.data} data, not for folders of SMPL-X motion; its parts are "
            "functions in `cospeech.metrics`."
        )
    if on_error not in ("fail", "skip"):
        raise ValueError(f"`on_error` must be 'fail' or 'skip'; got {on_error!r}.")
    pairs, problems = find_clips(generated, reference, audio)
    _refuse(problems, on_error)
    network = _load_extractor(extractor)
    measured, more = measure_folders(
        pairs,
        protocol,
        extractor=network,
        rest_joints=rest_joints,
        hand_mean=hand_mean,
        num_processes=num_processes,
        progress=progress,
    )
    problems += more
    _refuse(problems, on_error)
    if not measured:
        raise EvaluationError("No clip is left to measure: " + "; ".join(map(str, problems)))
    settings = {"num_resamples": num_resamples, "level": level, "seed": seed}
    metrics = tuple(summarize(measured, protocol, **settings))  # type: ignore[arg-type]
    found = {metric.name for metric in metrics}
    return Evaluation(
        label=label or Path(generated).name,
        protocol=protocol,
        metrics=metrics,
        omitted={
            name: _reason(name, extractor is not None, audio is not None)
            for name in protocol.measures
            if name not in found
        },
        alignment=alignment_test(measured, protocol, **settings),  # type: ignore[arg-type]
        clips=tuple(clip.name for clip in measured),
        problems=tuple(problems),
        notes=(
            *_body_notes(rest_joints, hand_mean),
            *(f"{clip.name}: {note}" for clip in measured for note in clip.notes),
        ),
        clips_hash=_clips_hash(pairs, measured),
        extractor_hash=None if network is None else _weights_hash(network),
        level=level,
        library_version=__version__,
        per_clip=_per_clip(measured),
    )


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


def _refuse(problems: Sequence[Problem], on_error: str) -> None:
    if problems and on_error == "fail":
        raise EvaluationError(
            f"{len(problems)} clips cannot be measured: " + "; ".join(map(str, problems)) + ". "
            "Mend them, or leave them out with on_error='skip'."
        )


def _body_notes(rest_joints: Tensor | None, hand_mean: Tensor | None) -> list[str]:
    """What differs from the published numbers for want of the licensed body model."""
    notes = []
    if rest_joints is None:
        notes.append(
            "Positions are of a mean body, not of the speaker's shape: give `rest_joints` for exact BC and L1div."
        )
    if hand_mean is None:
        notes.append("Hands are flat at rest; published programs add the body model's `hands_mean`, which moves L1div.")
    return notes


def _load_extractor(source: str | os.PathLike[str] | SkeletonAutoencoder | None) -> SkeletonAutoencoder | None:
    if source is None or isinstance(source, SkeletonAutoencoder):
        return source
    return skeleton_autoencoder_from_published(load_published(source))


def _reason(name: str, has_extractor: bool, has_audio: bool) -> str:
    if name == "fgd" and not has_extractor:
        return "needs the extractor AESKConv_240_100.bin"
    if name == "bc" and not has_audio:
        return "needs the clips' audio"
    return "no clip is long enough, or has what it needs"


def _per_clip(clips: Sequence[ClipMeasures]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for clip in clips for name in clip.values)
    return {name: {clip.name: clip.values[name][0] for clip in clips if name in clip.values} for name in names}


def _clips_hash(pairs: Sequence[ClipFiles], measured: Sequence[ClipMeasures]) -> str:
    kept = {clip.name for clip in measured}
    digest = hashlib.sha256()
    for pair in pairs:
        if pair.name in kept:
            digest.update(f"{pair.name} {file_hash(pair.reference)}\n".encode())
    return digest.hexdigest()


def _weights_hash(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
