"""Plots of measurements for people: distributions over clips, methods side by side, the beats of one clip.

Files are SVG, PNG or PDF by their suffix. Needs the extra ``viz``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cospeech._checks import check_shape
from cospeech._extras import require
from cospeech.metrics import BeatRule, beat_alignment, joint_speeds, rectified

__all__ = ["save_beat_plot", "save_comparison_plot", "save_distribution_plot", "save_metric_plots"]

Result = Mapping[str, Any]  # what `Evaluation.to_dict` gives: this floor does not know that class


def save_metric_plots(folder: str | os.PathLike[str], results: Sequence[Result]) -> list[Path]:
    """Draw ``distributions.svg`` and, of two or more results, ``comparison.svg``; their paths.

    Args:
        folder: Where to; must exist.
        results: Results as ``Evaluation.to_dict`` or ``cospeech evaluate --json`` gives them.
    """
    paths = [Path(folder) / "distributions.svg"]
    save_distribution_plot(paths[0], results)
    if len(results) > 1:
        paths.append(Path(folder) / "comparison.svg")
        save_comparison_plot(paths[1], results)
    return paths


def save_distribution_plot(path: str | os.PathLike[str], results: Sequence[Result]) -> None:
    """One panel per measure: the value of every clip, one row per result, the mean marked.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        ValueError: If no result has values of single clips.
    """
    names = list(dict.fromkeys(name for result in results for name in result["per_clip"]))
    if not names:
        raise ValueError("`results` must hold values of single clips; got none.")
    figure, panels = _figure(len(names))
    for panel, name in zip(panels, names, strict=False):
        for row, result in enumerate(results):
            values = list(result["per_clip"].get(name, {}).values())
            # Spread by rank, not at random: the same plot for the same numbers.
            heights = [row + 0.5 * ((i * 0.618) % 1 - 0.5) for i in range(len(values))]
            panel.plot(values, heights, "o", markersize=3, alpha=0.6, color=f"C{row % 10}")
            if values:
                mean = sum(values) / len(values)
                panel.plot([mean, mean], [row - 0.35, row + 0.35], color="black", linewidth=1.5)
        _rows(panel, [result["label"] for result in results])
        panel.set_title(name)
    _save(figure, path)


def save_comparison_plot(path: str | os.PathLike[str], results: Sequence[Result]) -> None:
    """One panel per measure: value and interval of each result, and the reference's value as a dashed line.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        ValueError: If there is nothing to draw.
    """
    names = list(dict.fromkeys(metric["name"] for result in results for metric in result["metrics"]))
    if not names:
        raise ValueError("`results` must hold metrics; got none.")
    figure, panels = _figure(len(names))
    for panel, name in zip(panels, names, strict=False):
        for row, result in enumerate(results):
            for metric in (metric for metric in result["metrics"] if metric["name"] == name):
                if metric["low"] is not None:
                    panel.plot([metric["low"], metric["high"]], [row, row], color=f"C{row % 10}", linewidth=2)
                panel.plot(metric["value"], row, "o", color=f"C{row % 10}")
                if metric["reference"] is not None:
                    panel.axvline(metric["reference"], color="grey", linestyle="--", linewidth=0.8)
        _rows(panel, [result["label"] for result in results])
        panel.set_title(name)
    _save(figure, path)


def save_beat_plot(
    path: str | os.PathLike[str],
    positions: Tensor,
    onsets: Tensor,
    *,
    rate_hz: float,
    usual_speeds: Tensor,
    rule: BeatRule,
    joint: int = 20,
) -> None:
    """The beats of one joint: its speed over time, motion beats as dots, audio onsets as lines.

    Args:
        path: The file.
        positions: ``(T, J, 3)`` in metres.
        onsets: Seconds from the end of the margin on, see ``cospeech.metrics.audio_beats``.
        rate_hz: Frames per second.
        usual_speeds: Mean speed of each joint, m/s, ``(J)``.
        rule: Whose beats.
        joint: Which; the left wrist by default.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    check_shape("positions", positions, "T J 3")
    alone = replace(rule, joints=(joint,))
    found = beat_alignment(positions, onsets, rate_hz=rate_hz, usual_speeds=usual_speeds, rule=alone)
    margin = rule.margin_frames(rate_hz)
    seen = (rectified(positions) if rule.rectify else positions)[:, joint : joint + 1]
    speeds = (joint_speeds(seen, rate_hz) / usual_speeds[joint])[margin : len(positions) - margin]
    beats = (found.beats[0] * rate_hz).round().long()
    score = float(found.joint_scores[0])
    figure = require("matplotlib.figure", extra="viz", purpose="Plotting").Figure(figsize=(10, 3), layout="constrained")
    panel = figure.subplots()
    seconds = [frame / rate_hz for frame in range(len(speeds))]
    panel.vlines(onsets.tolist(), 0, float(speeds.max()) if len(speeds) else 1.0, color="C1", linewidth=0.6, alpha=0.7)
    panel.plot(seconds, speeds[:, 0].tolist(), color="C0", linewidth=1)
    panel.plot([seconds[i] for i in beats.tolist()], speeds[beats, 0].tolist(), "o", color="C3", markersize=4)
    panel.axhline(rule.threshold, color="grey", linestyle="--", linewidth=0.8)
    panel.set_xlabel("seconds after the margin")
    panel.set_ylabel("speed / usual speed")
    panel.set_title(f"joint {joint}: {len(beats)} motion beats (dots), {len(onsets)} onsets (lines), score {score:.3f}")
    _save(figure, path)


def _figure(count: int) -> tuple[Any, list[Any]]:
    figures = require("matplotlib.figure", extra="viz", purpose="Plotting")
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = figures.Figure(figsize=(4 * columns, 2.2 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels


def _rows(panel: Any, labels: Sequence[str]) -> None:
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    figure.savefig(path)
