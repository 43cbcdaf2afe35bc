"""Which page reads which protocol's folders, and what each of them takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from cospeech.errors import EvaluationError
from cospeech.evaluation.beat2_folders import Beat2Reader
from cospeech.evaluation.beat_folders import Beat2022Reader, DiffSHEGReader
from cospeech.evaluation.faces import SurfaceModel
from cospeech.evaluation.folders import ClipReader
from cospeech.evaluation.protocols import Protocol
from cospeech.evaluation.show_folders import ShowReader
from cospeech.evaluation.statistics import load_statistics
from cospeech.evaluation.text_motion_folders import TextMotionReader
from cospeech.hub import load_model, load_published
from cospeech.hub.convert.evaluators import (
    gesture_autoencoder_from_published,
    motion_evaluator_from_published,
    text_evaluator_from_published,
)
from cospeech.hub.convert.globaldiff_vae import skeleton_autoencoder_from_published
from cospeech.models import GestureAutoencoder, MotionEvaluator, SkeletonAutoencoder, TextEvaluator

__all__ = ["OPTIONS", "make_reader"]

OPTIONS = {
    "beat2": ("audio", "semantic", "extractor", "body", "rest_joints", "hand_mean"),
    "beat2022": ("audio", "semantic", "extractor", "statistics"),
    "diffsheg": ("extractor", "statistics"),
    "diffsheg_show": ("extractor", "statistics"),
    "motionstreamer": ("extractor", "statistics", "texts", "tokenizer"),
}
"""What ``evaluate_folders`` takes besides folders, by protocol; "beat2" stands for all of BEAT2 data."""


def make_reader(protocol: Protocol, *, seed: int = 0, **options: Any) -> ClipReader:
    """The reader of a protocol's folders, its networks loaded.

    Args:
        protocol: Whose.
        seed: Of what a protocol draws.
        **options: See ``evaluate_folders``; None where not given.

    Raises:
        ValueError: If the protocol has no use for an option that is given.
        EvaluationError: If a file is not what it should be, or statistics are missing without which nothing can be had.
    """
    kind = "beat2" if protocol.data == "beat2" else protocol.name
    given = {name: value for name, value in options.items() if value is not None}
    surplus = [name for name in given if name not in OPTIONS[kind]]
    if surplus:
        raise ValueError(
            f"Protocol {protocol.name!r} has no use for `{surplus[0]}`; it takes {', '.join(OPTIONS[kind])}."
        )
    for name in ("audio", "semantic", "texts"):
        if name in given:
            given[name] = Path(given[name])
    if "statistics" in given:
        given["statistics"] = load_statistics(given["statistics"])
    elif kind in ("diffsheg", "diffsheg_show", "motionstreamer"):
        raise EvaluationError(f"Protocol {protocol.name!r} measures normalised motion: give the training `statistics`.")
    return _MAKERS[kind](protocol, given, seed)


def _beat2(protocol: Protocol, given: dict[str, Any], seed: int) -> ClipReader:
    extractor, body = given.pop("extractor", None), given.pop("body", None)
    if _is_folder(extractor):
        extractor = load_model(SkeletonAutoencoder, extractor)
    elif _is_path(extractor):
        extractor = skeleton_autoencoder_from_published(load_published(extractor))
    surface = None if body is None else SurfaceModel(body)
    return Beat2Reader(protocol=protocol, extractor=extractor, surface=surface, **given)


def _beat2022(protocol: Protocol, given: dict[str, Any], seed: int) -> ClipReader:
    extractors = _autoencoders(given.pop("extractor", None))
    return Beat2022Reader(protocol=protocol, extractor=extractors[0] if extractors else None, **given)


def _diffsheg(protocol: Protocol, given: dict[str, Any], seed: int) -> ClipReader:
    reader = DiffSHEGReader if protocol.name == "diffsheg" else ShowReader
    return reader(protocol=protocol, extractors=_autoencoders(given.pop("extractor", None)), **given)


def _motionstreamer(protocol: Protocol, given: dict[str, Any], seed: int) -> ClipReader:
    extractor, text = given.pop("extractor", None), None
    if _is_folder(extractor):
        folder = Path(extractor)
        extractor = load_model(MotionEvaluator, folder / "motion-evaluator")
        text = load_model(TextEvaluator, folder / "text-evaluator")
    elif _is_path(extractor):
        state = load_published(extractor)
        extractor = motion_evaluator_from_published(state)
        if any(key.startswith("textencoder.") for key in state):
            text = text_evaluator_from_published(state)
    elif isinstance(extractor, Sequence):
        extractor, text = extractor
    return TextMotionReader(protocol=protocol, extractor=extractor, text_extractor=text, seed=seed, **given)


_MAKERS = {
    "beat2": _beat2,
    "beat2022": _beat2022,
    "diffsheg": _diffsheg,
    "diffsheg_show": _diffsheg,
    "motionstreamer": _motionstreamer,
}


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike))


def _is_folder(source: Any) -> bool:
    """Whether it is a model of ours, as trainings and conversions write it."""
    return _is_path(source) and Path(source).is_dir()


def _autoencoders(source: Any) -> list[GestureAutoencoder]:
    """One or several, from files and folders or as they are."""
    if source is None:
        return []
    sources = [source] if _is_path(source) or isinstance(source, nn.Module) else list(source)
    return [_autoencoder(x) for x in sources]


def _autoencoder(source: Any) -> Any:
    if _is_folder(source):
        return load_model(GestureAutoencoder, source)
    return gesture_autoencoder_from_published(load_published(source)) if _is_path(source) else source
