"""Plots of an evaluation: what ``cospeech.viz`` draws of results, and the beats of single clips from their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cospeech.audio import load_audio
from cospeech.errors import EvaluationError
from cospeech.evaluation.clips import gesture_positions
from cospeech.evaluation.folders import find_clips
from cospeech.evaluation.protocols import BEAT2_MEAN_SPEEDS, Protocol, get_protocol
from cospeech.evaluation.result import Evaluation
from cospeech.metrics import audio_beats, beat_alignment
from cospeech.motion import Motion
from cospeech.viz import save_beat_plot, save_metric_plots

__all__ = ["save_clip_beats", "save_evaluation_plots"]

_AUDIO_HZ = 16_000


def save_evaluation_plots(
    folder: str | os.PathLike[str],
    results: Sequence[Evaluation],
    *,
    generated: Sequence[str | os.PathLike[str]] = (),
    audio: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Draw distributions, the comparison of several results and, with audio, the beats of one clip of each; the paths.

    Args:
        folder: Where to; made if missing.
        results: Of one protocol.
        generated: The folders they are of, in the same order, for the beats.
        audio: Folder of the clips' audio, likewise.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = save_metric_plots(folder, [result.to_dict() for result in results])
    if audio is None:
        return paths
    for result, source in zip(results, generated, strict=False):
        scores = result.per_clip.get("bc", {})
        if result.protocol.beat is None or not scores:
            continue
        # The middle one: neither the best that could be shown nor the worst.
        name = sorted(scores, key=lambda clip: scores[clip])[len(scores) // 2]
        pairs, _ = find_clips(source, source, audio)
        clip = next(pair for pair in pairs if pair.name == name)
        assert clip.audio is not None
        paths.append(folder / f"beats_{Path(source).name}.svg")
        save_clip_beats(paths[-1], Motion.load(clip.generated), load_audio(clip.audio, _AUDIO_HZ), result.protocol)
    return paths


def save_clip_beats(
    path: str | os.PathLike[str],
    motion: Motion,
    waveform: Tensor,
    protocol: str | Protocol = "cospeech",
    *,
    joint: int | None = None,
) -> None:
    """Draw the speed of a joint, its motion beats and the audio's beats, as a protocol sees them.

    Args:
        path: The file, SVG, PNG or PDF.
        motion: The clip, SMPL-X at the protocol's rate.
        waveform: Its sound at 16 kHz, ``(S,)``.
        protocol: Whose, or its name.
        joint: Which; by default the one with the most beats.

    Raises:
        EvaluationError: If the protocol has no beats, or the clip is too short to have any.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    rule = protocol.beat
    if rule is None or motion.num_frames <= 2 * rule.margin_frames(motion.rate_hz) + 1:
        raise EvaluationError(f"Protocol {protocol.name!r} finds no beats in {motion.duration_seconds:.1f} s.")
    positions = gesture_positions(motion.local_axis_angle.float(), protocol)
    onsets = audio_beats(waveform, num_frames=motion.num_frames, rate_hz=motion.rate_hz, rule=rule)
    speeds = torch.tensor(BEAT2_MEAN_SPEEDS)
    if joint is None:
        found = beat_alignment(positions, onsets, rate_hz=motion.rate_hz, usual_speeds=speeds, rule=rule)
        joint = max(zip(rule.joints, found.beats, strict=True), key=lambda pair: len(pair[1]))[0]
    save_beat_plot(path, positions, onsets, rate_hz=motion.rate_hz, usual_speeds=speeds, rule=rule, joint=joint)
