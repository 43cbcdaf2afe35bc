"""One call from folders to a result that can be quoted: numbers, intervals, and what they rest on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cospeech import __version__
from cospeech.errors import EvaluationError
from cospeech.evaluation.clips import ClipMeasures
from cospeech.evaluation.folders import ClipFiles, Problem, file_hash, measure_clips
from cospeech.evaluation.protocols import Protocol, get_protocol
from cospeech.evaluation.readers import make_reader
from cospeech.evaluation.result import Evaluation
from cospeech.evaluation.summary import alignment_test, summarize
from cospeech.metrics import BEAT_JOINTS, MeanAccumulator
from cospeech.skeleton import SMPLX

__all__ = ["evaluate_folders"]

PathLike = str | os.PathLike[str]


def evaluate_folders(
    generated: PathLike,
    reference: PathLike,
    *,
    protocol: str | Protocol = "cospeech",
    audio: PathLike | None = None,
    semantic: PathLike | None = None,
    extractor: Any = None,
    body: PathLike | None = None,
    rest_joints: Tensor | None = None,
    hand_mean: Tensor | None = None,
    statistics: PathLike | Mapping[str, Tensor] | None = None,
    texts: PathLike | None = None,
    tokenizer: Any = None,
    train: PathLike | None = None,
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
        generated: Folder of generated clips, as papers release them: ``.npz`` in the BEAT2 layout; ``.bvh``, and
            ``.json`` for faces, for ``beat2022`` and ``diffsheg``; ``.npy`` of 232 or 272 channels for
            ``diffsheg_show`` and ``motionstreamer``.
        reference: The recorded clips, of the same names.
        protocol: One of ``PROTOCOLS``, or its name. Each takes some of the following.
        audio: Folder of the clips' audio, for beat consistency.
        semantic: Folder of the clips' semantic scores, for SRGR.
        extractor: The published network's file, the folder of one that was trained or converted, or the network
            itself; several, in a list, for ``diffsheg``; ``motionstreamer`` takes ``epoch=99.ckpt``, the folder of
            a trained evaluator, or a pair of motion and text encoder.
        body: A SMPL-X model file, for errors of faces, and for the speaker's rest joints and the mean hand pose.
        rest_joints: Instead of the body's, ``(55, 3)`` metres; the mean of BEAT2's speakers by default.
        hand_mean: Instead of the body's; see ``gesture_positions``.
        statistics: Means and deviations of the training data, see ``cospeech.evaluation.load_statistics``.
        texts: Folder of the clips' captions.
        tokenizer: DistilBERT's: a folder or name for the transformers library, or a callable like its tokenizers.
        train: Folder of recorded training clips: their distance to the recorded clips is the floor of the distances.
        label: What to call the result; the folder's name by default.
        on_error: "fail" to refuse if any clip is missing, unreadable, NaN, too short or wrongly sampled, naming each;
            "skip" to leave them out and name them in the result.
        num_resamples: For intervals; 0 for none.
        level: Of the intervals.
        seed: Of resamples, and of what a protocol draws.
        num_processes: In parallel. The numbers do not depend on it.
        progress: Called with the clips done and all clips.

    Raises:
        EvaluationError: If clips have problems and ``on_error`` is "fail", or no clip is left.
        CheckpointError: If the extractor's weights do not fit.
        ValueError: If the protocol has no use for an argument.
    """
    protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if on_error not in ("fail", "skip"):
        raise ValueError(f"`on_error` must be 'fail' or 'skip'; got {on_error!r}.")
    reader = make_reader(
        protocol,
        seed=seed,
        audio=audio,
        semantic=semantic,
        extractor=extractor,
        body=body,
        rest_joints=rest_joints,
        hand_mean=hand_mean,
        statistics=statistics,
        texts=texts,
        tokenizer=tokenizer,
    )
    pairs, problems = reader.find(Path(generated), Path(reference))
    _refuse(problems, on_error)
    measured, more = measure_clips(pairs, reader, num_processes=num_processes, progress=progress)
    problems += more
    _refuse(problems, on_error)
    if not measured:
        raise EvaluationError("No clip is left to measure: " + "; ".join(map(str, problems)))
    trained: list[ClipMeasures] = []
    if train is not None:
        # Alone, without what belongs to the test clips: only its features are wanted.
        alone = make_reader(protocol, seed=seed, extractor=extractor, statistics=statistics)
        own, bad = alone.find(Path(train), Path(train))
        trained, worse = measure_clips(own, alone, num_processes=num_processes)
        bad = [Problem(f"training clip {x.name}", x.kind, x.detail) for x in (*bad, *worse)]
        _refuse(bad, on_error)
        problems += bad
    clips = reader.finish(measured, seed)
    settings: dict[str, Any] = {"num_resamples": num_resamples, "level": level, "seed": seed}
    metrics = tuple(summarize(clips, protocol, train=trained, **settings))
    found = {metric.name for metric in metrics}
    return Evaluation(
        label=label or Path(generated).name,
        protocol=protocol,
        metrics=metrics,
        omitted={name: reader.reason(name) for name in protocol.measures if name not in found},
        alignment=alignment_test(clips, protocol, **settings),
        clips=tuple(sorted(clip.name for clip in clips)),
        problems=tuple(problems),
        notes=(*reader.notes(), *(f"{clip.name}: {note}" for clip in clips for note in clip.notes)),
        clips_hash=_clips_hash(pairs, clips),
        extractor_hash=reader.extractor_hash(),
        level=level,
        floor=f"from {len(trained)} training clips to them" if trained else "between random halves of them",
        library_version=__version__,
        per_clip=_per_clip(clips),
        per_joint=_per_joint(clips, protocol),
        spectrum=_spectrum(clips),
    )


def _refuse(problems: Sequence[Problem], on_error: str) -> None:
    if problems and on_error == "fail":
        raise EvaluationError(
            f"{len(problems)} clips cannot be measured: " + "; ".join(map(str, problems)) + ". "
            "Mend them, or leave them out with on_error='skip'."
        )


def _per_clip(clips: Sequence[ClipMeasures]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(name for clip in clips for name in clip.values)
    return {name: {clip.name: clip.values[name][0] for clip in clips if name in clip.values} for name in names}


def _per_joint(clips: Sequence[ClipMeasures], protocol: Protocol) -> dict[str, dict[str, float]]:
    """Means over clips of each joint's values, weighted as the measure is."""
    means: dict[str, MeanAccumulator] = {}
    for clip in clips:
        for name, (values, weight) in clip.joint_values.items():
            means.setdefault(name, MeanAccumulator()).update(values, weight)
    joints = BEAT_JOINTS if protocol.beat is None else protocol.beat.joints
    beat_names = [SMPLX.names[joint] for joint in joints]
    return {
        name: dict(zip(beat_names if name == "bc" else SMPLX.names, mean.compute().tolist(), strict=True))
        for name, mean in means.items()
    }


def _spectrum(clips: Sequence[ClipMeasures]) -> dict[str, list[float]]:
    mean = MeanAccumulator()
    for clip in clips:
        if clip.spectra is not None:
            mean.update(torch.stack(clip.spectra), clip.num_frames)
    if mean.total is None:
        return {}
    generated, reference = mean.compute().tolist()
    return {"hz": [float(i) for i in range(len(generated))], "generated": generated, "reference": reference}


def _clips_hash(pairs: Sequence[ClipFiles], measured: Sequence[ClipMeasures]) -> str:
    kept = {clip.name for clip in measured}
    digest = hashlib.sha256()
    for pair in pairs:
        if pair.name in kept:
            digest.update(f"{pair.name} {file_hash(pair.reference)}\n".encode())
    return digest.hexdigest()
